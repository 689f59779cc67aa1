package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// loopback puts a node on real sockets.
func loopback(c *Config) {
	c.Network = nil
	c.Listen, c.GossipListen = "127.0.0.1:0", "127.0.0.1:0"
	c.Heartbeat = 500 * time.Millisecond
	c.Join = nil
}

// loopbackGroup forms a cluster of three on real sockets.
func loopbackGroup(t *testing.T, change ...func(*Config)) (*town, []*townNode) {
	t.Helper()
	w := newRealTown(t)
	var nodes []*townNode
	for _, name := range []string{"n1", "n2", "n3"} {
		n := w.node(name, append([]func(*Config){loopback}, change...)...)
		if name == "n1" {
			n.config.Bootstrap = true
		} else {
			n.config.Join = []string{nodes[0].m().gossip.net.advertise}
		}
		n.config.Autopilot = Autopilot{Stable: 100 * time.Millisecond, Interval: 100 * time.Millisecond}
		w.startAll(n)
		nodes = append(nodes, n)
	}
	w.eventually(func() bool { return len(voterNames(w.leader(nodes...).m())) == 3 })
	return w, nodes
}

// counter counts the records of a logger by message, but for what only debugging
// shows.
type counter struct {
	slog.Handler
	mu    sync.Mutex
	count map[string]int
}

func newCounter() *counter {
	return &counter{Handler: slog.DiscardHandler, count: map[string]int{}}
}

func (c *counter) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (c *counter) WithAttrs([]slog.Attr) slog.Handler           { return c }
func (c *counter) WithGroup(string) slog.Handler                { return c }
func (c *counter) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[r.Message]++
	return nil
}

func (c *counter) of(msg string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[msg]
}

// prefixed counts all messages that begin so.
func (c *counter) prefixed(p string) (sum int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for msg, n := range c.count {
		if strings.HasPrefix(msg, p) {
			sum += n
		}
	}
	return sum
}

// plainStream is raft's transport without hellos: what an intruder has, and what
// raft has by itself. first, where set, is said first.
type plainStream struct {
	net.Listener
	first []byte
}

func (s plainStream) Dial(a raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", string(a), timeout)
	if err != nil || s.first == nil {
		return c, err
	}
	if _, err := c.Write(s.first); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(c, make([]byte, helloBytes))
	return c, err
}

func plainTransport(t *testing.T, first []byte) *raft.NetworkTransport {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := raft.NewNetworkTransportWithLogger(plainStream{l, first}, 0, 2*time.Second, newRaftLogger(discard()))
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

const forgedTerm = 1000

// forge sends what takes a group over: the word of a leader of a later term.
func forge(n *raft.NetworkTransport, at, leader string) error {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader), Addr: []byte("127.0.0.1:1")}
	var resp raft.AppendEntriesResponse
	return n.AppendEntries("x", raft.ServerAddress(at), &raft.AppendEntriesRequest{RPCHeader: header, Term: forgedTerm}, &resp)
}

// What the hellos are for: raft alone believes the forged message.
func TestForgedMessageTakesPlainRaft(t *testing.T) {
	trans := plainTransport(t, nil)
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = "plain", newRaftLogger(discard())
	s := raft.NewInmemStore()
	first := raft.Configuration{Servers: []raft.Server{{ID: "plain", Address: trans.LocalAddr()}}}
	require.NoError(t, raft.BootstrapCluster(conf, s, s, raft.NewInmemSnapshotStore(), trans, first))
	r, err := raft.NewRaft(conf, newMachine(func(error) {}, newMetrics()), s, s, raft.NewInmemSnapshotStore(), trans)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Shutdown().Error()) }()
	require.NoError(t, forge(plainTransport(t, nil), string(trans.LocalAddr()), "intruder"))
	require.GreaterOrEqual(t, r.CurrentTerm(), uint64(forgedTerm))
}

// Garbage, silence, other clusters, strangers and forged messages at raft's
// address do nothing but count, and are logged at most once a second.
func TestRaftPort(t *testing.T) {
	log := newCounter()
	w, nodes := loopbackGroup(t, func(c *Config) { c.Logger = slog.New(log) })
	leader := w.leader(nodes...)
	target := nodes[0].m()
	if nodes[0] == leader {
		target = nodes[1].m()
	}
	at := target.streams.address.hostPort
	refused := func() float64 { return testutil.ToFloat64(target.metrics.refused) }
	before, begin := refused(), time.Now()

	// Answered with nothing but the end of the connection.
	unanswered := func(b []byte) {
		t.Helper()
		c, err := net.Dial("tcp", at)
		require.NoError(t, err)
		_, _ = c.Write(b)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		n, err := c.Read(make([]byte, helloBytes))
		require.Zero(t, n)
		require.Error(t, err)
		e, timeout := errors.AsType[net.Error](err)
		require.False(t, timeout && e.Timeout(), "it is closed, not left open")
		require.NoError(t, c.Close())
	}
	garbage := make([]byte, 4096)
	_, _ = rand.Read(garbage)
	good := target.doorman.hello()
	good.to, good.from = target.Identity(), nodes[2].m().Identity()
	wrong := good
	wrong.cluster = fragment.ClusterID{9}
	newer := good.encode()
	newer[len(helloMagic)]++
	attacks := [][]byte{garbage, []byte(strings.Repeat("GET / HTTP/1.1\r\n", 100)), make([]byte, helloBytes), wrong.encode(), newer}
	for _, b := range attacks {
		unanswered(b)
	}
	require.Eventually(t, func() bool { return refused() == before+float64(len(attacks)) }, 10*time.Second, time.Millisecond)

	// Answered, because they know the cluster, but no friendlier.
	stranger, elsewhere, impostor, old := good, good, good, good
	stranger.from = "nx-0123456789abcdef"
	elsewhere.to = "ny-0123456789abcdef"
	impostor.nonce = fragment.Nonce{1}
	old.boot = 99
	for h, want := range map[hello]verdict{
		stranger: verdictStranger, elsewhere: verdictElsewhere, impostor: verdictStranger, old: verdictStranger,
	} {
		c, err := net.Dial("tcp", at)
		require.NoError(t, err)
		_, err = c.Write(h.encode())
		require.NoError(t, err)
		answer, err := readHello(c)
		require.NoError(t, err)
		require.Equal(t, want, answer.verdict)
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err, "then it is closed")
		require.NoError(t, c.Close())

		require.Error(t, forge(plainTransport(t, h.encode()), at, leader.m().Identity()))
	}
	require.Error(t, forge(plainTransport(t, nil), at, leader.m().Identity()))

	// A crowd that says nothing keeps nobody out.
	var crowd []net.Conn
	for range 4 * helloingMax {
		c, err := net.Dial("tcp", at)
		require.NoError(t, err)
		crowd = append(crowd, c)
	}
	target.streams.drop(leader.m().Identity())
	proposeAt(t, leader, "goes-on")
	w.eventually(func() bool { return target.Applied() == leader.m().Applied() })
	target.streams.mu.Lock()
	require.LessOrEqual(t, len(target.streams.helloing), helloingMax)
	target.streams.mu.Unlock()
	for _, c := range crowd {
		require.NoError(t, c.Close())
	}

	require.Less(t, target.raft.CurrentTerm(), uint64(forgedTerm))
	require.Less(t, w.leader(nodes...).m().raft.CurrentTerm(), uint64(forgedTerm))
	require.Greater(t, refused(), before+float64(len(attacks))+8)
	require.LessOrEqual(t, log.of("a connection to raft's address was refused"), 3*(2+int(time.Since(begin)/time.Second)))
}

// Who says nothing is let go after a while.
func TestSilentConnection(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		n := w.node("n1", bootstrap)
		w.startAll(n)
		c, err := w.net.host("10.0.0.9").Dial(t.Context(), n.config.Listen)
		require.NoError(t, err)
		begin := time.Now()
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, helloTimeout, time.Since(begin))
		require.NoError(t, c.Close())
	})
}

// A member that dials knows who answers: neither another node, nor a stranger,
// nor a stranger's word that it was removed counts.
func TestDialImpostor(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(2)
		m := nodes[0].m()
		host := w.net.host("10.0.0.9")
		l, err := host.Listen("10.0.0.9:7071")
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		victim := nodes[1].m().Identity()
		good := nodes[1].m().doorman.hello()
		good.to = m.Identity()
		dial := func(answer hello) error {
			t.Helper()
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer func() { _ = c.Close() }()
				if _, err := readHello(c); err == nil {
					_, _ = c.Write(answer.encode())
					_, _ = io.Copy(io.Discard, c)
				}
			}()
			c, err := m.streams.Dial(streamAddr{victim, "10.0.0.9:7071"}.server(), time.Minute)
			if err == nil {
				_ = c.Close()
			}
			<-done
			return err
		}
		require.NoError(t, dial(good))
		for _, change := range []func(*hello){
			func(h *hello) { h.cluster = fragment.ClusterID{9} },
			func(h *hello) { h.from = "nx-0123456789abcdef" },
			func(h *hello) { h.nonce = fragment.Nonce{9} },
			func(h *hello) { h.verdict, h.nonce = verdictRemoved, fragment.Nonce{9} },
			func(h *hello) { h.verdict, h.from = verdictRemoved, "nx-0123456789abcdef" },
		} {
			h := good
			change(&h)
			require.ErrorIs(t, dial(h), errImpostor)
		}
		h := good
		h.verdict = verdictBusy
		require.ErrorContains(t, dial(h), verdictBusy.String())
		require.NoError(t, m.Err(), "nobody removed it")

		_, err = m.streams.Dial("began-without-a-network", time.Second)
		require.ErrorContains(t, err, "no network address")
		h.verdict = verdictRemoved // by a member that is who it says
		require.Error(t, dial(h))
		<-m.Failed()
		_, ok := errors.AsType[*RemovedError](m.Err())
		require.True(t, ok)
	})
}

// A bucket that can't be asked admits nobody new, and shuts nobody out.
func TestDoormanWithoutBucket(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		b := &nodeBucket{fakeBucket: w.bucket}
		var nodes []*townNode
		for _, name := range []string{"n1", "n2", "n3"} {
			nodes = append(nodes, w.node(name, expect(3)))
		}
		nodes[0].config.Bucket = b
		w.startAll(nodes...)
		m := nodes[0].m()
		b.fail(func(int, bool) error { return errStore })
		known := nodes[1].m().doorman.hello()
		require.Equal(t, verdictWelcome, m.doorman.judge(t.Context(), known))
		next := known
		next.boot++
		require.Equal(t, verdictBusy, m.doorman.judge(t.Context(), next))
		b.fail(nil)
		require.Equal(t, verdictStranger, m.doorman.judge(t.Context(), next))
		asked := b.requests()
		for range 3 {
			nodes[1].close()
			w.startAll(nodes[1])
			w.leader(nodes...)
		}
		require.Less(t, b.requests()-asked, 10, "a boot is looked up once")
		require.Equal(t, verdictStranger, m.doorman.judge(t.Context(), known), "an earlier boot")
		m.View(func(s *fsm.State) {
			n, _ := s.Node(known.from)
			require.Equal(t, uint64(4), n.Boot)
		})
	})
}

// Garbage at the address for gossip is logged at most once a second, and does
// nothing.
func TestGossipPort(t *testing.T) {
	log, begin := newCounter(), time.Now()
	w, nodes := loopbackGroup(t, func(c *Config) { c.Logger = slog.New(log) })
	leader := w.leader(nodes...)
	at := nodes[0].m().gossip.net.advertise
	udp, err := net.Dial("udp", at)
	require.NoError(t, err)
	defer func() { require.NoError(t, udp.Close()) }()
	garbage := make([]byte, 1400)
	var crowd []net.Conn
	for range 2 * gossipStreamsMax {
		_, _ = rand.Read(garbage)
		_, err := udp.Write(garbage)
		require.NoError(t, err)
		c, err := net.Dial("tcp", at)
		require.NoError(t, err)
		_, _ = c.Write(garbage[:7])
		crowd = append(crowd, c)
	}
	proposeAt(t, leader, "goes-on")
	for _, c := range crowd {
		require.NoError(t, c.Close())
	}
	// Others are found all the same.
	n4 := w.node("n4", loopback)
	n4.config.Join = []string{at}
	w.startAll(n4)
	require.Equal(t, []string{"goes-on"}, logNames(n4.m()))
	proposeAt(t, w.leader(nodes...), "still")
	said := log.prefixed("gossip: ")
	require.Positive(t, said)
	require.LessOrEqual(t, said, 3*(2+int(time.Since(begin)/time.Second)), "by three nodes")
}

// Lines of memberlist's come at a level below their own; of those that others
// can cause one a second passes, whichever way memberlist spells their level.
func TestGossipLines(t *testing.T) {
	for word, most := range map[string]int{"[ERR]": 1, "[ERROR]": 1, "[WARN]": 1, "[INFO]": 0, "[DEBUG]": 0} {
		bubble.Test(t, func(t *testing.T) {
			log := newCounter()
			l := newRaftLogger(slog.New(log)).gossipLogger()
			for range 3 {
				l.Printf("%s memberlist: it is %d", word, 1)
			}
			require.Equal(t, most, log.of("gossip: it is 1"), word)
			require.Equal(t, most, log.prefixed("gossip: "), word)
		})
	}
}

// A cluster on real files and sockets, all of which is started again.
func TestGroupOnDisk(t *testing.T) {
	w := newRealTown(t)
	var nodes []*townNode
	for _, name := range []string{"n1", "n2", "n3"} {
		n := w.node(name, loopback, expect(3))
		n.config.Dir, n.config.wrap = t.TempDir(), nil
		nodes = append(nodes, n)
	}
	// Where the first one listens must be known to the others.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nodes[0].config.GossipListen = l.Addr().String()
	require.NoError(t, l.Close())
	for _, n := range nodes {
		n.config.Join = []string{nodes[0].config.GossipListen}
	}
	for round := range 2 {
		w.startAll(nodes...)
		for _, n := range nodes {
			require.Equal(t, uint64(round+1), n.m().Boot())
			proposeAt(t, n, n.name+strings.Repeat("x", round))
			require.Len(t, voterNames(n.m()), 3)
		}
		for _, n := range nodes {
			n.close()
		}
	}
	// One is alone with its files: it says so, for want of the others.
	c := nodes[0].config
	_, err = Open(t.Context(), Config{Dir: c.Dir, Bucket: w.bucket})
	e, ok := errors.AsType[*GroupError](err)
	require.True(t, ok, err)
	require.Equal(t, 3, e.Members)
}

func TestMembersAlone(t *testing.T) {
	m := open(t, "", newBucket())
	members := m.Members()
	require.Len(t, members, 1)
	require.Equal(t, MemberInfo{
		Identity: m.Identity(), Name: "n1", Role: RoleVoter, Leader: true,
		Contact: members[0].Contact, Index: m.raft.LastIndex(),
	}, members[0])
	require.True(t, m.Leads())
	require.Equal(t, m.Identity(), m.Leader())
	_, ok := errors.AsType[*MemberError](m.TransferLeader(t.Context(), ""))
	require.True(t, ok)
	_, ok = errors.AsType[*MemberError](m.Remove(t.Context(), m.Identity()))
	require.True(t, ok)
}
