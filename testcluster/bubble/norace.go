//go:build !race

package bubble

func enter() (leave func()) { return func() {} }
