//go:build !race

package cluster

const lapseSeedsDefault = 1000
