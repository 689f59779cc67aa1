package node_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// TestLostIndexAndFragments: the index of a sealed chain is gone, and with it
// fragments of the chain, so that nothing tells any more where its logs ended.
// What can be read is read, what can't is lost, and no LSN is given out twice.
func TestLostIndexAndFragments(t *testing.T) {
	entries := []string{"a", "b", "c", "d", "e", "f"}
	for name, lost := range map[string][]int{
		"the last": {5}, "the last two": {4, 5}, "one between": {2}, "two between": {2, 3},
		"the first": {0}, "one between and the last": {1, 5}, "all": {0, 1, 2, 3, 4, 5},
	} {
		t.Run(name, func(t *testing.T) {
			inScenes(t, func(s *scene) {
				o := s.producer(api.OpenRequest{Name: "p"})
				s.fill(o, 1, entries...)
				e, n := s.chain()
				tail := s.tail()
				s.reopen()
				crash(s, s.w, s.p)
				for _, key := range s.mem.Keys("index/") {
					require.True(s, s.mem.Lose(key))
				}
				gone := make(map[string]bool)
				for _, i := range lost {
					gone[entries[i]] = true
					require.True(s, s.mem.Lose(fragment.ChainKey(e, n-uint64(len(entries)-i))))
				}
				for range 2 { // and what was concluded stays
					s.open()
					requireNoneTwice(s, tail, entries, gone)
					crash(s, s.w, s.p)
				}
				s.open()
			})
		})
	}
}

func requireNoneTwice(s *scene, tail fragment.LSN, entries []string, gone map[string]bool) {
	s.Helper()
	require.GreaterOrEqual(s, s.tail(), tail)
	o := s.producer(api.OpenRequest{})
	x := s.send(text(o, 1, "g")).wait()
	require.NoError(s, x.err)
	require.GreaterOrEqual(s, x.ack.From, tail, "an LSN was given out twice")
	var there []string
	reported := false
	for _, e := range s.read() {
		if strings.HasPrefix(e, "lost ") {
			reported = true
		} else if e != "g" {
			there = append(there, e)
		}
	}
	var want []string
	for _, e := range entries {
		if !gone[e] {
			want = append(want, e)
		}
	}
	require.Equal(s, want, there)
	require.True(s, reported, "the loss was not reported")
}
