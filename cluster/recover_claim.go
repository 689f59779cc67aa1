package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/wpd-io/wpd/fragment"
)

// incarnationObject is the content of incarnations/<n>, for each that was begun
// but the first. It is never deleted.
type incarnationObject struct {
	Version     int    `json:"version"`
	Cluster     string `json:"cluster"`
	Incarnation uint64 `json:"incarnation"`
	Identity    string `json:"identity"` // of who begins it
	Nonce       string `json:"nonce"`    // of its boot
}

// begun returns the highest incarnation above one that was begun, 0 if none was.
func begun(ctx context.Context, o Objects, above uint64) (highest uint64, err error) {
	for key, err := range o.List(ctx, fragment.IncarnationsPrefix(), fragment.IncarnationKey(above)) {
		if err != nil {
			return 0, fmt.Errorf("list %s: %w", fragment.IncarnationsPrefix(), err)
		}
		if n, err := fragment.ParseIncarnationKey(key); err == nil {
			highest = max(highest, n)
		}
	}
	return highest, nil
}

// CheckIncarnation returns an *OverError if another incarnation of the metadata
// was begun than the one that this node knows. A chain that was opened, by a
// create that has succeeded, before a check that found none, is found by
// whoever begins the next one; a chain must not be written without that.
func (m *Member) CheckIncarnation(ctx context.Context) error {
	mine := m.Incarnation()
	n, err := begun(ctx, m.config.Bucket, mine)
	if err != nil || n == 0 {
		return err
	}
	over := &OverError{Dir: m.config.Dir, Mine: mine, Incarnation: n, Key: fragment.IncarnationKey(n)}
	var there incarnationObject
	if found, err := readJSON(ctx, m.config.Bucket, over.Key, &there); found && err == nil {
		over.By = there.Identity // for the message only
	}
	return over
}

// checkIncarnation is CheckIncarnation for a member that may only trail.
func (m *Member) checkIncarnation(ctx context.Context) error {
	err := m.CheckIncarnation(ctx)
	if _, over := errors.AsType[*OverError](err); !over {
		return err
	}
	if err := m.Confirm(ctx); err != nil {
		return err
	}
	return m.CheckIncarnation(ctx)
}

// Begin claims the next incarnation, for a first boot of the new node, which it
// claims too. f is what was found so far. From now on, no chain is opened by
// anybody else: all that count were opened before.
func (r *Recovery) Begin(ctx context.Context, f Found) error {
	c := Config{Dir: r.config.Dir, Bucket: r.config.Bucket}
	r.target = r.goal(f)
	mark := recoveryMark{Version: recordVersion, Incarnation: r.target}
	if err := setJSON(r.stores.stable, keyRecovery, mark); err != nil {
		return err
	}
	if err := createBoot(ctx, c, r.me, r.boot); err != nil {
		return err
	}
	key := fragment.IncarnationKey(r.target)
	err := createJSON(ctx, c.Bucket, key, incarnationObject{
		Version: recordVersion, Cluster: r.me.Cluster, Incarnation: r.target, Identity: r.me.Identity, Nonce: r.boot.Nonce,
	})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("another recovery of this cluster has begun at the same moment (%s): let it end, or run this one again: %w", key, err)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	return nil
}

// claimants returns all nodes that ever claimed a boot, or tried the bucket,
// with the highest boot of each, at least 1.
func claimants(ctx context.Context, o Objects) (map[string]uint64, error) {
	all := make(map[string]uint64)
	for key, err := range o.List(ctx, fragment.NodesPrefix(), "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", fragment.NodesPrefix(), err)
		}
		identity, _, ok := strings.Cut(strings.TrimPrefix(key, fragment.NodesPrefix()), "/")
		if !ok {
			continue
		}
		_, n, _ := fragment.ParseBootKey(key) // 0 of what is no boot
		all[identity] = max(all[identity], n, 1)
	}
	return all, nil
}
