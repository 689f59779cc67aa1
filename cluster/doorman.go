package cluster

import (
	"context"
	"errors"
	"sync"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// Bounds of what the doorman asks and remembers: far above what a group of
// members that start again all at once needs.
const (
	askingMax = 4
	shownMax  = 256
)

// doorman is the door of a member. Members are known by the boot that the
// metadata has of them. A boot that it does not have, because the metadata here
// trails or the member has just started, is looked up in the bucket, where only
// one who may write there can have put it.
type doorman struct {
	m      *Member
	asking chan struct{} // bounds the questions to the bucket

	mu    sync.Mutex
	shown map[string]shownBoot // by identity; guarded by mu
}

// shownBoot is a boot that the bucket has confirmed.
type shownBoot struct {
	boot  uint64
	nonce fragment.Nonce
}

func newDoorman(m *Member) *doorman {
	return &doorman{m: m, asking: make(chan struct{}, askingMax), shown: make(map[string]shownBoot)}
}

// hello returns a hello with what we say of ourselves.
func (d *doorman) hello() hello {
	return hello{cluster: d.m.me.cluster, boot: d.m.boot.Number, nonce: d.m.boot.nonce, from: d.m.me.Identity}
}

// turnedAway is called when a member says that we were removed.
func (d *doorman) turnedAway() { d.m.removed() }

// judge checks that the boot in a hello of our cluster is that of a member, or
// may become that of one.
func (d *doorman) judge(ctx context.Context, h hello) verdict {
	n := d.m.roster.node(h.from)
	known := shownBoot{h.boot, h.nonce}
	switch {
	case n != nil && n.Removed:
		return verdictRemoved
	case n != nil && n.Boot > h.boot:
		return verdictStranger
	case n != nil && n.Boot == h.boot:
		if n.Nonce != h.nonce {
			return verdictStranger
		}
		return verdictWelcome
	case d.remembers(h.from, known):
		return verdictWelcome
	}
	select {
	case d.asking <- struct{}{}:
		defer func() { <-d.asking }()
	case <-ctx.Done():
		return verdictBusy
	}
	ok, err := showsBoot(ctx, d.m.config.Bucket, d.m.me.Cluster, h.from, known)
	switch {
	case err != nil:
		d.m.logger.Warn("a boot could not be looked up in the bucket", "identity", h.from, "err", err)
		return verdictBusy
	case !ok:
		return verdictStranger
	}
	d.remember(h.from, known)
	return verdictWelcome
}

func (d *doorman) remembers(identity string, b shownBoot) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	there, ok := d.shown[identity]
	return ok && there == b
}

func (d *doorman) remember(identity string, b shownBoot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.shown) == shownMax {
		clear(d.shown)
	}
	d.shown[identity] = b
}

// showsBoot tells whether the bucket holds the object of a boot.
func showsBoot(ctx context.Context, o Objects, cluster, identity string, b shownBoot) (bool, error) {
	if fsm.CheckNodeName("identity", identity) != nil || b.boot == 0 {
		return false, nil
	}
	var there bootObject
	found, err := readJSON(ctx, o, fragment.BootKey(identity, b.boot), &there)
	if _, strange := errors.AsType[*BucketError](err); strange {
		return false, nil // not one of ours, so it shows nothing
	}
	if err != nil || !found {
		return false, err
	}
	return there.Cluster == cluster && there.Identity == identity && there.Boot == b.boot && there.Nonce == b.nonce.String(), nil
}
