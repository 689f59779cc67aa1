package blobstore_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/testcluster/tamper"
)

// hasty are options with which a test waits little for what never comes.
var hasty = blobstore.Options{RequestTimeout: 200 * time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: 10 * time.Millisecond}

// TestCreateTampered: each way in which a store or the way to it goes wrong, on
// each server, ends in success, because our bytes are there; and each took
// effect.
func TestCreateTampered(t *testing.T) {
	onServers(t, func(t *testing.T, s server) {
		p := s.proxy(t)
		direct, b := s.open(t, s.addr, blobstore.Options{}), s.open(t, p.Addr(), hasty)
		for _, f := range []tamper.Fault{
			{Do: tamper.Drop},
			{Do: tamper.Refuse, Status: 500},
			{Do: tamper.Refuse, Status: 503},
			{Do: tamper.Refuse, Status: 503, RetryAfter: "1", Name: "refuse, with a hint"},
			{Do: tamper.Refuse, Status: 409},
			{Do: tamper.Refuse, Status: 412},
			{Do: tamper.Refuse, Status: 403},
			{Do: tamper.Lie, Status: 412},
			{Do: tamper.Lie, Status: 409},
			{Do: tamper.Lie, Status: 500},
			{Do: tamper.Lie, Status: 503},
			{Do: tamper.Slow},
			{Do: tamper.Hang},
			{Do: tamper.Reset},
			{Do: tamper.Cut},
		} {
			f.Kind, f.Count = tamper.Create, 1
			r := p.Add(f)
			name := fmt.Sprintf("tampered/%s-%d%s", f.Do, f.Status, f.RetryAfter)
			body := bytes.Repeat([]byte(name), 100)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			require.NoError(t, b.Create(ctx, name, body[:7], body[7:]), f.Do)
			got, err := object(ctx, direct, name)
			require.NoError(t, err, f.Do)
			require.Equal(t, body, got, f.Do)
			count := r.Count()
			require.Equal(t, 1, count.Hits, f.Do)
			applied := f.Do == tamper.Drop || f.Do == tamper.Lie || f.Do == tamper.Slow
			require.Equal(t, applied, count.Applied == 1, f.Do)
			if f.Do == tamper.Slow || f.Do == tamper.Hang {
				require.NoError(t, r.Await(ctx, func(c tamper.Count) bool { return c.GivenUp == 1 }))
			}
			r.Remove()
			cancel()
		}
	})
}

// TestCreateOvertaken: a first attempt lands after the second, and one lands
// after a seal: neither changes what is there.
func TestCreateOvertaken(t *testing.T) {
	onServers(t, func(t *testing.T, s server) {
		p := s.proxy(t)
		direct, b := s.open(t, s.addr, blobstore.Options{}), s.open(t, p.Addr(), hasty)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		holds := func(key, want string) {
			t.Helper()
			got, err := object(ctx, direct, key)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
		}
		givenUp := func(c tamper.Count) bool { return c.GivenUp == 1 }

		late := p.Add(tamper.Fault{Do: tamper.Late, Kind: tamper.Create, Count: 1})
		require.NoError(t, b.Create(ctx, "overtaken/1", []byte("ours")))
		require.NoError(t, late.Await(ctx, givenUp))
		late.Release()
		require.Equal(t, tamper.Count{Hits: 1, GivenUp: 1, Overtaken: 1}, late.Count())
		holds("overtaken/1", "ours")

		// abandoned is a create that is on its way when nobody waits for it any more.
		abandoned := func(key string) *tamper.Rule {
			late := p.Add(tamper.Fault{Do: tamper.Late, Kind: tamper.Create, Count: 1})
			short, cancel := context.WithCancel(ctx)
			defer cancel()
			done := make(chan error)
			go func() { done <- b.Create(short, key, []byte("ours")) }()
			require.NoError(t, late.Wait(ctx, 1))
			cancel()
			require.ErrorIs(t, <-done, blobstore.ErrUnknown)
			require.NoError(t, late.Await(ctx, givenUp))
			return late
		}
		late = abandoned("overtaken/2")
		require.NoError(t, b.Create(ctx, "overtaken/2", []byte("a seal")))
		late.Release()
		require.Equal(t, tamper.Count{Hits: 1, GivenUp: 1, Overtaken: 1}, late.Count())
		holds("overtaken/2", "a seal")

		// The other way round: the late one is first, and the seal is told so.
		late = abandoned("overtaken/3")
		late.Release()
		var exists *blobstore.ExistsError
		require.ErrorAs(t, b.Create(ctx, "overtaken/3", []byte("a seal")), &exists)
		require.Equal(t, "ours", string(exists.Head))
		require.Equal(t, tamper.Count{Hits: 1, Applied: 1, GivenUp: 1}, late.Count())
		holds("overtaken/3", "ours")
	})
}
