package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// register makes this cluster and this boot known in the metadata, and compares
// the metadata with the bucket.
func (m *Member) register(ctx context.Context) error {
	if err := m.nameCluster(ctx); err != nil {
		return err
	}
	n := m.config.Info
	n.Identity, n.Name, n.Boot, n.Nonce, n.Feature = m.me.Identity, m.me.Name, m.boot.Number, m.boot.nonce, fsm.FeatureLevel
	n.Removed = false
	if m.config.networked() {
		n.Raft, n.Gossip = m.streams.address.hostPort, m.gossip.net.advertise
	}
	if err := m.insist(ctx, fsm.NewRegisterBoot(n)); err != nil {
		if _, ok := errors.AsType[*fsm.RemovedError](err); ok {
			return m.removedError()
		}
		if e, ok := errors.AsType[*fsm.NameTakenError](err); ok {
			return &NameTakenError{Name: e.Name, Holder: e.Identity}
		}
		return fmt.Errorf("register boot %d: %w", m.boot.Number, err)
	}
	if m.config.networked() {
		m.gossip.tell(func(t *meta) { t.member = true })
	}
	if err := m.checkIncarnation(ctx); err != nil {
		return err
	}
	return m.checkEpochs(ctx)
}

// insist proposes a command that changes nothing when it comes again, until its
// outcome is known.
func (m *Member) insist(ctx context.Context, c *fsmpb.Command) error {
	for {
		_, err := m.Propose(ctx, c)
		if !errors.Is(err, ErrUncertain) || m.usable(ctx) != nil {
			return err
		}
		select {
		case <-time.After(retryMax):
		case <-m.failed:
		case <-ctx.Done():
		}
	}
}

// nameCluster returns once the metadata has the name of the cluster. The first
// leader gives it.
func (m *Member) nameCluster(ctx context.Context) error {
	for {
		_, leads := m.leader()
		changed := m.Changed()
		var there fragment.ClusterID
		m.View(func(s *fsm.State) { there = s.Cluster().ID })
		switch {
		case there == m.me.cluster:
			return nil
		case !there.IsZero():
			return &DataDirError{Dir: m.config.Dir, Reason: "is damaged", Err: &fsm.ClusterError{Have: there, Want: m.me.cluster}}
		case m.leads():
			if err := m.insist(ctx, fsm.NewInitCluster(m.me.cluster, fsm.FeatureLevel)); err != nil {
				return fmt.Errorf("name the cluster: %w", err)
			}
			continue
		}
		select {
		case <-changed:
		case <-leads:
		case <-m.failed:
			return m.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for the first leader: %w", context.Cause(ctx))
		}
	}
}

// checkEpochs looks for a chain above the highest epoch that the metadata has
// granted. Other members may be granted one while it looks, so it asks the
// leader about each that it finds.
func (m *Member) checkEpochs(ctx context.Context) error {
	for {
		key, found, err := findEpoch(ctx, m.config.Bucket, m.highestEpoch())
		if err != nil || key == "" {
			return err
		}
		if err := m.Confirm(ctx); err != nil {
			return err
		}
		if have := m.highestEpoch(); found > have {
			return &RolledBackError{What: "chain epoch", Where: key, Found: uint64(found), Have: uint64(have)}
		}
	}
}

func (m *Member) highestEpoch() (e fragment.Epoch) {
	m.View(func(s *fsm.State) { e = s.HighestEpoch() })
	return e
}
