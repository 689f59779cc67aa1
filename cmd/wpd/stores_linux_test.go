package main

import (
	"path/filepath"
	"testing"

	"github.com/wpd-io/wpd/testcluster/stores"
)

// TestWeatherStores kills nodes of clusters whose buckets are on real object
// stores.
func TestWeatherStores(t *testing.T) {
	binary := wpdBinary(t)
	stores.Each(t, func(t *testing.T, server *stores.Server) {
		s := newSky(t, 3, func(s *sky) { s.bucket, s.binary, s.enough = server.URL(t), binary, 3000 })
		s.weather(t, "kill the writer and then all", map[string]int{"kill": 4}, func(w *storm) {
			w.killAndGoOn(w.log("a"), w.writer(w.log("a")))
			all := w.up()
			w.kill(all...)
			w.fault("kill", len(all))
			w.start(all...)
			w.acked(stormSome)
		})
	})
}

// TestAppendResumesAfterKillStores is TestAppendResumesAfterKill for nodes within
// the killed process, on real object stores.
func TestAppendResumesAfterKillStores(t *testing.T) {
	stores.Each(t, func(t *testing.T, server *stores.Server) {
		bucket := server.URL(t)
		flags := []string{"--bucket", bucket, "--data-dir", filepath.Join(t.TempDir(), "node")}
		testAppendResumesAfterKill(t, &world{t, flags, bucket})
	})
}
