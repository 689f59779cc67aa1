//go:build race

package cluster

const lapseSeedsDefault = 200 // each takes four times as long
