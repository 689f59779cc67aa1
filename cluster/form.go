package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

const (
	// formInterval is how often a new node looks again what has become of the
	// cluster, besides when gossip tells of something new.
	formInterval = time.Second
	// waitLogEvery is how often a node that waits for others says so.
	waitLogEvery = 10 * time.Second
)

// forming is a new node's way into a cluster. What decides is the create of
// cluster.json: it names the cluster and its founders, and whoever reads
// itself there bootstraps raft with exactly those, at once or after any number
// of crashes. So nothing rests on who saw whom when.
type forming struct {
	m       *Member
	began   time.Time
	said    time.Time       // when the latest log line was
	checked map[string]bool // whose probe objects were read
}

// form returns the founders if this node is one, and nil if it has to join
// those who are there.
func (m *Member) form(ctx context.Context) ([]founder, error) {
	if err := m.createProbe(ctx); err != nil {
		return nil, err
	}
	f := forming{m: m, began: time.Now(), said: time.Now(), checked: make(map[string]bool)}
	for {
		changed := m.gossip.changed()
		founders, done, err := f.step(ctx)
		if done || err != nil {
			return founders, err
		}
		select {
		case <-changed:
		case <-time.After(formInterval):
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for other nodes: %w", context.Cause(ctx))
		}
	}
}

// createProbe makes this node's probe object, before anybody hears of the node.
func (m *Member) createProbe(ctx context.Context) (err error) {
	var nonce fragment.Nonce
	if m.me, nonce, err = m.me.probe(m.stores.stable); err != nil {
		return err
	}
	key := fragment.ProbeKey(m.me.Identity)
	err = createJSON(ctx, m.config.Bucket, key, probeObject{Version: recordVersion, Identity: m.me.Identity, Nonce: nonce.String()})
	if errors.Is(err, fs.ErrExist) {
		return &CopiedError{Dir: m.config.Dir, Identity: m.me.Identity, Key: key}
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	return m.announce(meta{expect: m.config.Expect, probe: nonce})
}

// announce lets other nodes find this one, and looks for them.
func (m *Member) announce(mine meta) error {
	mine.grpc, mine.raft = m.config.Info.GRPC, m.streams.address.hostPort
	if err := m.gossip.start(m.me.Identity, mine); err != nil {
		return err
	}
	m.spawn(func() { m.gossip.seek(m.gossipAddresses) })
	return nil
}

// gossipAddresses returns where the members that the metadata knows listened
// for gossip.
func (m *Member) gossipAddresses() (addrs []string) {
	for _, n := range m.roster.all() {
		if !n.Removed && n.Gossip != "" && n.Identity != m.me.Identity {
			addrs = append(addrs, n.Gossip)
		}
	}
	return addrs
}

// step looks at bucket and gossip, and does what can be done.
func (f *forming) step(ctx context.Context) (founders []founder, done bool, err error) {
	m := f.m
	nodes := m.gossip.nodes()
	// Read after gossip was looked at: who tells of a cluster has created it
	// before.
	there, err := readClusterObject(ctx, m.config.Bucket)
	switch {
	case err != nil:
		return nil, false, err
	case !there.id.IsZero():
		return f.belong(there, nodes)
	case m.me.Joined:
		return nil, false, &OtherClusterError{Dir: m.config.Dir, BucketURL: m.config.BucketURL, Mine: m.me.cluster, WasURL: m.me.BucketURL}
	}
	for _, n := range nodes {
		if !n.cluster.IsZero() {
			return nil, false, f.unshared(fragment.ClusterKey, n.identity)
		}
	}
	switch {
	case m.config.Bootstrap, m.config.Expect == 1:
		founders = []founder{f.self()}
	case m.config.Expect > 1:
		founders, err = f.expect(ctx, nodes)
	default:
		f.say("waiting for a cluster to join", "join", m.config.Join)
	}
	if len(founders) == 0 || err != nil {
		return nil, false, err
	}
	if err := f.found(ctx, founders); err != nil {
		return nil, false, err
	}
	return f.step(ctx) // it is there now
}

func (f *forming) self() founder {
	return founder{Identity: f.m.me.Identity, Raft: f.m.streams.address.hostPort}
}

func (f *forming) unshared(key, writer string) error {
	return &UnsharedBucketError{BucketURL: f.m.config.BucketURL, Key: key, Writer: writer, Reader: f.m.me.Identity}
}

func (f *forming) say(msg string, args ...any) {
	if time.Since(f.said) >= waitLogEvery {
		f.said = time.Now()
		f.m.logger.Info(msg, args...)
	}
}

// belong finds this node's place in the cluster that the bucket belongs to.
func (f *forming) belong(there clusterObject, nodes []seen) (founders []founder, done bool, err error) {
	m := f.m
	switch {
	case there.founded(m.me.Identity):
		founders, done = there.Founders, true
	case there.id == m.me.cluster && !m.me.Joined:
		// Made by this node before it had a network.
		founders, done = []founder{f.self()}, true
	case slices.ContainsFunc(nodes, func(n seen) bool { return n.member && n.cluster == there.id }):
		done = true
	case len(m.config.Join) == 0 || time.Since(f.began) > m.config.Patience:
		return nil, false, &NoGroupError{BucketURL: m.config.BucketURL, Cluster: there.id, Join: m.config.Join}
	default:
		f.say("waiting for a member of the cluster", "cluster", there.id, "join", m.config.Join)
		return nil, false, nil
	}
	if m.me, err = m.me.adopt(m.stores.stable, there.id); err != nil {
		return nil, false, err
	}
	m.gossip.tell(func(t *meta) { t.cluster = there.id })
	return founders, true, nil
}

// found makes the cluster, if nobody else has: the next look finds out.
func (f *forming) found(ctx context.Context, founders []founder) error {
	err := createJSON(ctx, f.m.config.Bucket, fragment.ClusterKey, clusterObject{
		Version: recordVersion, Cluster: f.m.me.Cluster, Founders: founders,
	})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create %s: %w", fragment.ClusterKey, err)
	}
	return nil
}

// expect returns the founders if all expected nodes are there and this one's
// identity is the lowest, so that it is to make the cluster. Which one does it
// does not matter, but that it is one saves the others a request. No node of
// these belongs to a cluster.
func (f *forming) expect(ctx context.Context, nodes []seen) ([]founder, error) {
	m := f.m
	fresh := []seen{{identity: m.me.Identity, meta: meta{raft: m.streams.address.hostPort}}}
	for _, n := range nodes {
		if err := f.checkProbe(ctx, n); err != nil {
			return nil, err
		}
		if n.expect == m.config.Expect {
			fresh = append(fresh, n)
		}
	}
	slices.SortFunc(fresh, func(a, b seen) int { return strings.Compare(a.identity, b.identity) })
	if ok, err := f.distinct(fresh); !ok {
		return nil, err
	}
	if len(fresh) < m.config.Expect {
		f.say("waiting for other new nodes", "expect", m.config.Expect, "found", identities(fresh))
		return nil, nil
	}
	founders := make([]founder, 0, m.config.Expect)
	for _, n := range fresh[:m.config.Expect] {
		founders = append(founders, founder{Identity: n.identity, Raft: n.raft})
	}
	if fresh[0].identity != m.me.Identity {
		return nil, nil
	}
	return founders, nil
}

func identities(nodes []seen) (out []string) {
	for _, n := range nodes {
		out = append(out, n.identity)
	}
	return out
}

// distinct tells whether all nodes, in the order of their identities, have names
// of their own. Of two with one name, the later one errs, after a while: a node
// that was wiped is seen as two until gossip has noticed.
func (f *forming) distinct(nodes []seen) (bool, error) {
	holders := make(map[string]string)
	for _, n := range nodes {
		name := nameOf(n.identity)
		holder, taken := holders[name]
		if !taken {
			holders[name] = n.identity
			continue
		}
		if n.identity == f.m.me.Identity && time.Since(f.began) > f.m.config.Patience {
			return false, &NameTakenError{Name: name, Holder: holder, New: true}
		}
		f.say("two new nodes have one name", "name", name, "identities", []string{holder, n.identity})
		return false, nil
	}
	return true, nil
}

// checkProbe makes sure that a node's probe object can be read here. It was
// there before gossip told of the node.
func (f *forming) checkProbe(ctx context.Context, n seen) error {
	if f.checked[n.identity] {
		return nil
	}
	key := fragment.ProbeKey(n.identity)
	var p probeObject
	_, err := readJSON(ctx, f.m.config.Bucket, key, &p)
	_, strange := errors.AsType[*BucketError](err)
	switch {
	case err != nil && !strange:
		return err
	case strange || p.Nonce != n.probe.String():
		return f.unshared(key, n.identity)
	}
	f.checked[n.identity] = true
	return nil
}
