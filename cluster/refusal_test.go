package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

func alone(c *Config) { c.Join = nil }

// Raft may ask for an address while Open fails, and must not hold up Close.
func TestAddressWhileClosing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := newMember(Config{Listen: "fake", TTL: ttlDefault, Renew: ttlDefault / 2})
		m.me.Identity, m.gossip = "n1-1", &gossip{}
		at := make(chan raft.ServerAddress, 1)
		go func() { at <- m.raftAddress("n2-2") }()
		close(m.closing)
		require.Equal(t, raft.ServerAddress("n2-2"), <-at)
		m.endLife()
	})
}

// A cluster is made once: whoever is new and comes later joins, or is refused.
func TestSecondBootstrap(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		n1 := w.node("n1", bootstrap)
		w.startAll(n1)

		e := refusedStart[*NoGroupError](t, w.node("n2", bootstrap, alone))
		require.Equal(t, n1.m().ClusterID(), e.Cluster)
		require.ErrorContains(t, e, "can't make the cluster again")

		// With somebody to join, that is what bootstrap means.
		n3 := w.node("n3", bootstrap)
		w.startAll(n3)
		require.Equal(t, n1.m().ClusterID(), n3.m().ClusterID())
		w.eventually(func() bool { return len(voterNames(n1.m())) == 2 })

		// Three that only know each other are not enough either.
		var errs [3]error
		done := make(chan struct{})
		for i, name := range []string{"x1", "x2", "x3"} {
			n := w.node(name, expect(3))
			n.config.Join = []string{"10.0.0.4:7072"}
			go func() {
				defer func() { done <- struct{}{} }()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				errs[i] = n.start(ctx)
			}()
		}
		for range 3 {
			<-done
		}
		for _, err := range errs {
			e, ok := errors.AsType[*NoGroupError](err)
			require.True(t, ok, err)
			require.ErrorContains(t, e, "10.0.0.4:7072")
		}
		require.Len(t, roles(n1.m()), 2)
	})
}

// A group of one without a network on the bucket of a cluster.
func TestBootstrapAloneOnCluster(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		w.form(3)
		e := refuse[*OtherClusterError](t, Config{Bucket: w.bucket})
		require.True(t, e.Fresh)
	})
}

// A node that was to join others must not make a cluster by itself later, not
// even the one whose id it took over; nor must one of several founders.
func TestJoinerNeverFounds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		n1 := w.node("n1", bootstrap)
		w.startAll(n1)
		n2 := w.node("n2")
		b := &nodeBucket{fakeBucket: w.bucket}
		b.hook = func(_ int, late bool) error { // crashes once it took the id over
			var me self
			if found, err := getJSON(n2.stores.stable, keySelf, &me); err != nil || !found || !me.Joined {
				return nil
			}
			return errStore
		}
		n2.config.Bucket = b
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, n2.start(ctx), errStore)
		empty, err := n2.stores.empty()
		require.NoError(t, err)
		require.True(t, empty)

		networked := n2.config
		n2.config = Config{Name: "n2", Bucket: w.bucket, wrap: networked.wrap}
		refusedStart[*GroupError](t, n2)
		n2.config.Bucket = newBucket()
		refusedStart[*GroupError](t, n2)
		n2.config = networked
		n2.config.Bucket, n2.config.Bootstrap, n2.config.Join = newBucket(), true, nil
		e := refusedStart[*OtherClusterError](t, n2)
		require.Equal(t, n1.m().ClusterID(), e.Mine)
		n2.config = networked
		n2.config.Bucket = w.bucket
		w.startAll(n2)
	})
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		n1 := w.node("n1", expect(2))
		n2 := w.node("n2", expect(2))
		b := &nodeBucket{fakeBucket: w.bucket}
		b.hook = func(int, bool) error { // n1 crashes once cluster.json is there
			if len(w.bucket.keys(fragment.ClusterKey)) > 0 {
				return errStore
			}
			return nil
		}
		n1.config.Bucket = b
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- n2.start(ctx) }()
		require.ErrorIs(t, n1.start(ctx), errStore)
		networked := n1.config
		n1.config = Config{Name: "n1", Bucket: w.bucket, wrap: networked.wrap}
		e := refusedStart[*GroupError](t, n1)
		require.Equal(t, 2, e.Members)
		n1.config = networked
		n1.config.Bucket = w.bucket
		require.NoError(t, n1.start(ctx))
		require.NoError(t, <-done)
	})
}

// A node of one cluster on the bucket of another, and one that is told to join
// another cluster.
func TestWrongCluster(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		n1 := w.node("n1", bootstrap)
		w.startAll(n1)
		other := w.node("n2", bootstrap, alone)
		other.config.Bucket = newBucket()
		w.startAll(other)
		require.NotEqual(t, n1.m().ClusterID(), other.m().ClusterID())

		// They meet by gossip, and leave each other alone.
		other.m().gossip.contact("10.0.0.1:7072")
		time.Sleep(time.Minute)
		require.Empty(t, n1.m().gossip.nodes())
		require.Empty(t, other.m().gossip.nodes())

		// A new node on one bucket that knows nodes of the other.
		n3 := w.node("n3")
		n3.config.Bucket = other.config.Bucket
		refusedStart[*NoGroupError](t, n3)

		other.close()
		bucket := other.config.Bucket
		other.config.Bucket = w.bucket
		e := refusedStart[*OtherClusterError](t, other)
		require.Equal(t, n1.m().ClusterID(), e.Bucket)
		other.config.Bucket = bucket
		w.startAll(other)
	})
}

// A copy of a data directory, of a member, must not start.
func TestCopiedMember(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		// The same identity and boot as n3's before its next start.
		copied := w.node("n3")
		for _, key := range [][]byte{keySelf, keyBoot} {
			v, err := nodes[2].stores.stable.Get(key)
			require.NoError(t, err)
			require.NoError(t, copied.stores.stable.Set(key, v))
		}
		nodes[2].close()
		w.startAll(nodes[2])
		e := refusedStart[*CopiedError](t, copied)
		require.Equal(t, uint64(2), e.Boot)
		require.NoError(t, nodes[2].m().Err())
	})
}

// Each node has a bucket of its own: the nodes find out before they form.
func TestUnsharedBucketForming(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		errs := make(chan error, 3)
		for _, name := range []string{"n1", "n2", "n3"} {
			n := w.node(name, expect(3))
			n.config.Bucket = newBucket()
			go func() { errs <- n.start(ctx) }()
		}
		told := 0
		for range 3 {
			err := <-errs
			if e, ok := errors.AsType[*UnsharedBucketError](err); ok {
				told++
				require.True(t, strings.HasSuffix(e.Key, "/probe"))
				t.Log(e)
				continue
			}
			require.ErrorIs(t, err, context.DeadlineExceeded, "it waits for two more")
		}
		require.GreaterOrEqual(t, told, 2)
		for _, n := range w.nodes {
			require.Empty(t, n.config.Bucket.(*fakeBucket).keys(fragment.ClusterKey))
		}
	})
}

// A node that joins with a bucket of its own: an empty one, and one that was
// copied and so looks right.
func TestUnsharedBucketJoining(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		n1 := w.node("n1", bootstrap)
		w.startAll(n1)
		n2 := w.node("n2")
		n2.config.Bucket = newBucket()
		e := refusedStart[*UnsharedBucketError](t, n2)
		require.Equal(t, fragment.ClusterKey, e.Key)

		copied := newBucket()
		for _, key := range w.bucket.keys("") {
			copied.put(key, string(w.bucket.objects[key]))
		}
		n2.config.Bucket = copied
		e = refusedStart[*UnsharedBucketError](t, n2)
		require.Equal(t, fragment.BootKey(e.Writer, 1), e.Key)
		require.Len(t, roles(n1.m()), 1)
		n2.config.Bucket = w.bucket
		w.startAll(n2)
	})
}

// Two new nodes with one name don't make a cluster.
func TestSameNameForming(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		errs := make(chan error, 3)
		for _, name := range []string{"n1", "n2", "n2"} {
			n := w.node(name, expect(3))
			go func() { errs <- n.start(t.Context()) }()
		}
		e, ok := errors.AsType[*NameTakenError](<-errs)
		require.True(t, ok)
		require.Equal(t, "n2", e.Name)
		require.True(t, e.New)
		t.Log(e)
		require.Empty(t, w.bucket.keys(fragment.ClusterKey))
		// The other two go on with a third.
		w.startAll(w.node("n3", expect(3)))
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
	})
}

// Nodes that expect different numbers wait, and nothing is made.
func TestExpectDiffers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		errs := make(chan error, 3)
		for i, name := range []string{"n1", "n2", "n3"} {
			n := w.node(name, expect(3+i%2))
			go func() { errs <- n.start(ctx) }()
		}
		for range 3 {
			require.ErrorIs(t, <-errs, context.DeadlineExceeded)
		}
		require.Empty(t, w.bucket.keys(fragment.ClusterKey))
	})
}

// grantingBucket has another member granted a chain while the bucket is listed.
type grantingBucket struct {
	*fakeBucket
	grant func()
}

func (b *grantingBucket) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	if prefix == fragment.ChainsPrefix() && b.grant != nil {
		b.grant()
		b.grant = nil
	}
	return b.fakeBucket.List(ctx, prefix, after)
}

// A chain that another member opens while this one starts is no sign of
// metadata that was rolled back; one that nobody was granted is.
func TestEpochsWhileStarting(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		nodes[2].close()
		granted := false
		nodes[2].config.Bucket = &grantingBucket{fakeBucket: w.bucket, grant: func() {
			e, err := nodes[0].m().Grant(t.Context(), 8, 0)
			require.NoError(t, err)
			w.bucket.put(fragment.ChainKey(e, 0), "opened")
			granted = true
		}}
		w.startAll(nodes[2])
		require.True(t, granted)
		nodes[2].close()
		w.bucket.put(fragment.ChainKey(9, 0), "opened by whom?")
		e := refusedStart[*RolledBackError](t, nodes[2])
		require.Equal(t, uint64(9), e.Found)
	})
}

func TestServeJoinRefused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		leader := w.leader(nodes...)
		good := JoinRequest{Identity: "n9-0123456789abcdef", Name: "n9", Raft: "10.0.0.9:7071", Boot: 1, Nonce: fragment.Nonce{1}}
		for _, change := range []func(*JoinRequest){
			func(r *JoinRequest) { r.Identity = "a/b" },
			func(r *JoinRequest) { r.Name = "n8" },
			func(r *JoinRequest) { r.Name = "" },
			func(r *JoinRequest) { r.Raft = "" },
			func(r *JoinRequest) { r.Raft = strings.Repeat("x", metaAddressMax+1) },
		} {
			r := good
			change(&r)
			_, err := leader.m().ServeJoin(t.Context(), r)
			require.ErrorIs(t, err, ErrRefused)
		}
		for _, n := range nodes {
			_, err := n.m().ServeJoin(t.Context(), good)
			if n == leader {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrNotLeader)
			}
		}
		object := func(o bootObject) string {
			b, err := json.Marshal(o)
			require.NoError(t, err)
			return string(b)
		}
		cluster := leader.m().me.Cluster
		for _, body := range []string{
			"", "{", object(bootObject{Cluster: cluster, Identity: good.Identity, Boot: 1, Nonce: fragment.Nonce{2}.String()}),
			object(bootObject{Cluster: fragment.ClusterID{1}.String(), Identity: good.Identity, Boot: 1, Nonce: good.Nonce.String()}),
		} {
			w.bucket.put(fragment.BootKey(good.Identity, 1), body)
			answer, err := leader.m().ServeJoin(t.Context(), good)
			require.NoError(t, err)
			require.Equal(t, RefusalBucket, answer.Refusal)
		}
		require.Len(t, roles(leader.m()), 3)
		w.bucket.put(fragment.BootKey(good.Identity, 1), object(bootObject{Cluster: cluster, Identity: good.Identity, Boot: 1, Nonce: good.Nonce.String()}))
		answer, err := leader.m().ServeJoin(t.Context(), good)
		require.NoError(t, err)
		require.Equal(t, Joined{}, answer)
		require.Equal(t, RoleNonVoter, roles(leader.m())["n9"])
	})
	m := open(t, "", newBucket())
	_, err := m.ServeJoin(t.Context(), JoinRequest{})
	require.ErrorIs(t, err, ErrRefused)
}

func TestGroupConfigRefused(t *testing.T) {
	good := Config{Bucket: newBucket(), Listen: "127.0.0.1:0", GossipListen: "127.0.0.1:0", Peers: &townPeers{}, Bootstrap: true}
	for _, change := range []func(*Config){
		func(c *Config) { c.Listen = "" },
		func(c *Config) { c.GossipListen = "" },
		func(c *Config) { c.Expect, c.Bootstrap = 6, false },
		func(c *Config) { c.Expect, c.Bootstrap = -1, false },
		func(c *Config) { c.Expect = 3 },
		func(c *Config) { c.Autopilot.Voters = 4 },
		func(c *Config) { c.Info.GRPC = strings.Repeat("x", 300) },
		func(c *Config) { c.TTL, c.Renew = time.Second, time.Second },
	} {
		c := good
		change(&c)
		refuse[*fsm.InvalidError](t, c)
	}
	c := good
	c.Peers = nil
	_, err := Open(t.Context(), c)
	require.ErrorContains(t, err, "no peers")
	c = good
	c.Listen = "0.0.0.0:0"
	_, err = Open(t.Context(), c)
	require.ErrorContains(t, err, "say which one to advertise")
	c.Listen, c.GossipListen = good.Listen, ":0"
	_, err = Open(t.Context(), c)
	require.ErrorContains(t, err, "say which one to advertise")
}
