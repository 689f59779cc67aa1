package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fragment"
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

// openDisk takes the data directory and finds out who we are.
func (m *Member) openDisk() (err error) {
	if m.config.Dir == "" {
		m.stores = memoryStores()
	} else {
		if m.dir, err = openDataDir(m.config.Dir); err != nil {
			return err
		}
		if m.stores, err = openStores(m.dir, newRaftLogger(m.logger)); err != nil {
			return err
		}
	}
	if m.config.wrap != nil {
		m.config.wrap(m.stores)
	}
	return guard(func() error {
		m.me, err = loadSelf(m.stores.stable, m.config)
		if err != nil {
			return err
		}
		m.boot, err = loadBoot(m.stores.stable, m.config.Dir)
		return err
	})
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
	if err := claimBucket(ctx, m.config, m.me, fresh); err != nil {
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

// startRaft starts raft, bootstrapping it if that never happened, and returns
// once it leads and has applied what was committed before.
func (m *Member) startRaft(ctx context.Context) error {
	conf := m.raftConfig()
	address := raft.ServerAddress(m.me.Identity)
	_, m.transport = raft.NewInmemTransport(address)
	watched := &watchedStores{
		LogStore: m.stores.logs, StableStore: m.stores.stable, fail: m.fail, closing: m.closing,
	}
	if err := guard(func() error { return m.bootstrap(conf, address) }); err != nil {
		return fmt.Errorf("bootstrap raft: %w", err)
	}
	err := guard(func() (err error) {
		m.raft, err = raft.NewRaft(conf, m.machine, watched, watched, m.stores.snaps, m.transport)
		return err
	})
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
	return m.awaitLead(ctx)
}

func (m *Member) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(m.me.Identity)
	conf.HeartbeatTimeout = heartbeatTimeout
	conf.ElectionTimeout = electionTimeout
	conf.LeaderLeaseTimeout = leaderLeaseTimeout
	conf.BatchApplyCh = true
	conf.NoLegacyTelemetry = true
	conf.Logger = newRaftLogger(m.logger)
	return conf
}

// bootstrap writes the first configuration, with this node alone, unless raft
// has one.
func (m *Member) bootstrap(conf *raft.Config, address raft.ServerAddress) error {
	empty, err := m.stores.empty()
	if err != nil || !empty {
		return err
	}
	// A bootstrap that crashed half-way has set the term and nothing else;
	// raft takes that for a member of some group. It never voted.
	if err := m.stores.stable.SetUint64(keyTerm, 0); err != nil {
		return err
	}
	return raft.BootstrapCluster(conf, m.stores.logs, m.stores.stable, m.stores.snaps, m.transport, raft.Configuration{
		Servers: []raft.Server{{Suffrage: raft.Voter, ID: conf.LocalID, Address: address}},
	})
}

func (m *Member) awaitLead(ctx context.Context) error {
	for leads := false; !leads; {
		select {
		case leads = <-m.raft.LeaderCh():
		case <-m.failed:
			return m.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for raft to lead: %w", context.Cause(ctx))
		}
	}
	return m.Confirm(ctx)
}

// join makes this cluster and this boot known in the metadata, and compares
// the metadata with the bucket.
func (m *Member) join(ctx context.Context) error {
	var there fragment.ClusterID
	m.View(func(s *fsm.State) { there = s.Cluster().ID })
	if there.IsZero() {
		if _, err := m.Propose(ctx, fsm.NewInitCluster(m.me.cluster, fsm.FeatureLevel)); err != nil {
			return fmt.Errorf("name the cluster: %w", err)
		}
	} else if there != m.me.cluster {
		return &DataDirError{Dir: m.config.Dir, Reason: "is damaged", Err: &fsm.ClusterError{Have: there, Want: m.me.cluster}}
	}
	_, err := m.Propose(ctx, fsm.NewRegisterBoot(fsm.Node{
		Identity: m.me.Identity, Name: m.me.Name, Boot: m.boot.Number, Nonce: m.boot.nonce,
	}))
	if err != nil {
		return fmt.Errorf("register boot %d: %w", m.boot.Number, err)
	}
	var highest fragment.Epoch
	m.View(func(s *fsm.State) { highest = s.HighestEpoch() })
	return checkEpochs(ctx, m.config.Bucket, highest)
}
