package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fsm"
)

// Timings of a group of one: nobody is waited for, so an election is over as
// soon as it begins. Shorter ones would only wake an idle leader more often.
const (
	heartbeatTimeout   = 50 * time.Millisecond // an election begins after one to two of these
	electionTimeout    = 50 * time.Millisecond
	leaderLeaseTimeout = 50 * time.Millisecond
)

// keyTerm is where raft keeps its term.
var keyTerm = []byte("CurrentTerm")

// snapshotInterval is how often raft looks whether so much has come since its last
// snapshot that there should be another; it waits up to twice as long.
const snapshotInterval = 10 * time.Second

// openDisk takes the data directory and finds out who we are.
func (m *Member) openDisk() (err error) {
	if m.config.Dir == "" {
		m.stores = memoryStores()
	} else {
		if m.dir, err = openDataDir(m.config.Dir); err != nil {
			return err
		}
		if m.stores, err = openStores(m.dir, m.config.NoSync, newRaftLogger(m.logger)); err != nil {
			return err
		}
	}
	if m.config.wrap != nil {
		m.config.wrap(m.stores)
	}
	return guard(func() error {
		if err := checkRecovered(m.stores.stable, m.config.Dir); err != nil {
			return err
		}
		m.me, err = loadSelf(m.stores.stable, m.config)
		if err != nil {
			return err
		}
		m.boot, err = loadBoot(m.stores.stable, m.config.Dir)
		return err
	})
}

// openNetwork takes the addresses to listen at. Nobody hears of them yet, and
// who connects waits.
func (m *Member) openNetwork() (err error) {
	if !m.config.networked() {
		return nil
	}
	l, err := m.config.Network.Listen(m.config.Listen)
	if err != nil {
		return fmt.Errorf("listen for raft at %s: %w", m.config.Listen, err)
	}
	at, err := advertised(m.config.Advertise, l.Addr())
	if err != nil {
		return errors.Join(fmt.Errorf("listen for raft: %w", err), l.Close())
	}
	m.doorman = newDoorman(m)
	m.streams = newStreams(m.config, l, streamAddr{m.me.Identity, at}, m.doorman, m.metrics)
	m.gossiped = func(identity string) string {
		n, _ := m.gossip.node(identity)
		return n.grpc
	}
	m.gossip, err = openGossip(m.config)
	return err
}

// claim makes sure that the bucket is our cluster's, and wins a boot number in
// it. Raft has not started yet: a copied directory must not get that far.
func (m *Member) claim(ctx context.Context) error {
	fresh, err := m.stores.empty()
	if err == nil {
		m.began, err = m.stores.last()
	}
	if err != nil {
		return fmt.Errorf("look at raft's store: %w", err)
	}
	switch {
	case fresh && m.config.networked():
		m.founders, err = m.form(ctx)
	case fresh:
		m.founders, err = m.foundAlone(ctx)
	default:
		err = claimBucket(ctx, m.config, m.me, false)
	}
	if err != nil {
		return err
	}
	if m.me.BucketURL != m.config.BucketURL {
		m.me.BucketURL = m.config.BucketURL
		if err := setJSON(m.stores.stable, keySelf, m.me); err != nil {
			return err
		}
	}
	return m.claimBoot(ctx)
}

// foundAlone makes a cluster of this node, which has no network. A directory
// that has begun to be one of several must go on so.
func (m *Member) foundAlone(ctx context.Context) ([]founder, error) {
	me := []founder{{Identity: m.me.Identity}}
	if m.me.Joined {
		return nil, &GroupError{Dir: m.config.Dir}
	}
	if err := claimBucket(ctx, m.config, m.me, true); err != nil {
		return nil, err
	}
	there, err := readClusterObject(ctx, m.config.Bucket)
	if err == nil && len(there.Founders) > 1 {
		err = &GroupError{Dir: m.config.Dir, Members: len(there.Founders)}
	}
	return me, err
}

// claimBoot counts up the boot and wins its object. A start that crashed
// between the two, or lost, is looked at first: so a copied directory fails at
// the same number every time, instead of going on with the next one.
func (m *Member) claimBoot(ctx context.Context) (err error) {
	if m.boot.Number > 0 && !m.boot.Claimed {
		if err := createBoot(ctx, m.config, m.me, m.boot); err != nil {
			return err
		}
	}
	if m.boot, err = m.boot.count(m.stores.stable); err != nil {
		return err
	}
	if err := createBoot(ctx, m.config, m.me, m.boot); err != nil {
		return err
	}
	if err := checkBoots(ctx, m.config, m.me, m.boot); err != nil {
		return err
	}
	m.boot.Claimed = true
	return setJSON(m.stores.stable, keyBoot, m.boot)
}

// startRaft starts raft, bootstrapping it if this node is to and that never
// happened.
func (m *Member) startRaft() error {
	conf := m.raftConfig()
	m.openTransport()
	watched := &watchedStores{
		LogStore: m.stores.logs, StableStore: m.stores.stable, busy: &m.logBusy, fail: m.fail, closing: m.closing,
	}
	if err := guard(func() error { return m.bootstrap(conf) }); err != nil {
		return fmt.Errorf("bootstrap raft: %w", err)
	}
	err := m.newRaft(conf, watched)
	// A snapshot that can't be read fails the member even if raft has found
	// an older one.
	if failed := m.Err(); failed != nil {
		err = failed
	}
	if err != nil {
		if _, ok := errors.AsType[*fsm.CorruptError](err); ok {
			err = &DataDirError{Dir: m.config.Dir, Reason: "has a damaged snapshot", Err: err}
		}
		return fmt.Errorf("start raft: %w", err)
	}
	close(m.ready)
	m.startLeases()
	if m.config.networked() {
		m.View(m.roster.refresh)
		if m.config.Serve != nil {
			m.config.Serve(m)
		}
		m.streams.start()
	}
	if n := len(m.servers()); !m.config.networked() && n > 1 {
		return &GroupError{Dir: m.config.Dir, Members: n}
	}
	return nil
}

// newRaft makes raft, in a goroutine: if its store fails meanwhile, raft hangs
// until the member is closing.
func (m *Member) newRaft(conf *raft.Config, watched *watchedStores) error {
	done := make(chan error, 1)
	started := m.spawn(func() {
		done <- guard(func() (err error) {
			m.raft, err = raft.NewRaft(conf, watchedMachine{m.machine, &m.workBusy}, watched, watched, m.stores.snaps, m.answers.watch(m.transport))
			return err
		})
	})
	if !started {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-m.failed:
		return m.Err()
	}
}

// openTransport makes raft's transport.
func (m *Member) openTransport() {
	if !m.config.networked() {
		_, m.transport = raft.NewInmemTransport(raft.ServerAddress(m.me.Identity))
		return
	}
	if p, ok := m.config.Peers.(Introducer); ok {
		p.Introduce(m.me.cluster, m.me.Identity)
	}
	m.transport = newGroupTransport(m, m.streams)
}

func (m *Member) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(m.me.Identity)
	conf.HeartbeatTimeout = heartbeatTimeout
	conf.ElectionTimeout = electionTimeout
	conf.LeaderLeaseTimeout = leaderLeaseTimeout
	if m.config.networked() {
		conf.HeartbeatTimeout = m.config.Heartbeat
		conf.ElectionTimeout = m.config.Heartbeat
		conf.LeaderLeaseTimeout = m.config.Heartbeat
	}
	// A member that is removed is to be told so, not to find its raft gone.
	conf.ShutdownOnRemove = false
	conf.BatchApplyCh = true
	// A start applies again what came since the last snapshot. One costs a second
	// at most, and is made only of thousands of commands.
	conf.SnapshotInterval = snapshotInterval
	conf.NoLegacyTelemetry = true
	conf.Logger = newRaftLogger(m.logger)
	return conf
}

// bootstrap writes the first configuration, if this node is to and raft has
// none. All founders write the same.
func (m *Member) bootstrap(conf *raft.Config) error {
	empty, err := m.stores.empty()
	if err != nil || !empty || len(m.founders) == 0 {
		return err
	}
	// A bootstrap that crashed half-way has set the term and nothing else;
	// raft takes that for a member of some group. It never voted.
	if err := m.stores.stable.SetUint64(keyTerm, 0); err != nil {
		return err
	}
	var first raft.Configuration
	for _, f := range m.founders {
		s := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(f.Identity), Address: raft.ServerAddress(f.Identity)}
		if f.Raft != "" {
			s.Address = streamAddr{f.Identity, f.Raft}.server()
		}
		first.Servers = append(first.Servers, s)
	}
	return raft.BootstrapCluster(conf, m.stores.logs, m.stores.stable, m.stores.snaps, m.transport, first)
}
