package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// VerifyOptions tune Verify.
type VerifyOptions struct {
	Options
	// Keep bounds the problems, and the notes, that the report holds; the
	// others are counted only. Default 1,000.
	Keep int
}

// Verify reads a whole bucket and holds all that it says against itself:
// every object decodes, down to the entries, and stands under its own key;
// every chain is whole up to its seal or end, was written by one boot, and is
// what its sums and indexes say; every LSN of every log is there once, in
// order of append times and of its producers' sequences. It may run while
// nodes write. Errors: whatever keeps the store from answering; what is wrong
// with the bucket is in the report.
func Verify(ctx context.Context, store segment.Store, o VerifyOptions) (*Report, error) {
	if o.Keep <= 0 {
		o.Keep = 1000
	}
	b, err := Open(ctx, store, o.Options)
	if err != nil {
		return nil, err
	}
	v := &verifier{
		Bucket: b, opts: o, logs: make(map[fragment.LogID]*logCheck),
		r: &Report{Chains: uint64(len(b.chains)), Logs: uint64(len(b.logs)), keep: o.Keep, Problems: []Problem{}, Notes: []Problem{}},
	}
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	v.r.sort()
	return v.r, nil
}

// verifier is one run of Verify.
type verifier struct {
	*Bucket
	opts     VerifyOptions
	r        *Report
	logs     map[fragment.LogID]*logCheck
	boots    map[string]string // nonces by key
	noBoot   map[string]bool   // keys that were reported as missing
	identity bool              // the bucket has objects of a cluster's own
	progress Progress
}

func (v *verifier) run(ctx context.Context) error {
	if !v.cluster.IsZero() {
		v.r.Cluster = v.cluster.String()
	}
	for _, c := range v.chains {
		v.progress.Of += c.listed.Len() + uint64(len(c.indexes))
	}
	if err := v.own(ctx); err != nil {
		return err
	}
	for _, l := range v.Bucket.logs {
		v.logs[l.ID] = newLogCheck(l)
		if p := l.places[0]; p.attached != nil && p.first > max(p.attached.Trim, 1) {
			v.lost(Problem{
				Kind: KindMissing, Object: fragment.ChainsPrefix(), Log: l.ID, Name: l.Name,
				From: max(p.attached.Trim, 1), To: p.first, Detail: "the chain that held these entries is gone",
			})
		}
	}
	for _, c := range v.chains {
		if err := v.chain(ctx, c); err != nil {
			return err
		}
	}
	for _, key := range v.strays {
		v.foreign(key)
	}
	v.opts.tell(v.progress)
	return nil
}

// own checks the objects of the cluster's own, and looks for keys that are
// none of ours.
func (v *verifier) own(ctx context.Context) error {
	v.boots, v.noBoot = make(map[string]string), make(map[string]bool)
	for after, more := "", true; more; {
		more = false
		for key, err := range v.store.List(ctx, "", after) {
			if err != nil {
				return fmt.Errorf("list the bucket: %w", err)
			}
			after = key
			if dir, _, ok := strings.Cut(key, "/"); ok && (dir == "chains" || dir == "index" || dir == "scratch") {
				if dir == "scratch" { // one word for all of it: there may be thousands
					v.foreign(dir + "/")
				}
				after = dir + "0" // known already, or nobody's; '0' follows '/'
				more = true
				break
			}
			switch {
			case strings.HasPrefix(key, fragment.NodesPrefix()):
				if err := v.boot(ctx, key); err != nil {
					return err
				}
			case strings.HasPrefix(key, fragment.IncarnationsPrefix()):
				if err := v.incarnation(ctx, key); err != nil {
					return err
				}
			case key != fragment.ClusterKey:
				v.foreign(key)
			}
		}
	}
	v.identity = len(v.boots) > 0 || v.clusterErr == nil
	switch {
	case v.clusterErr == nil:
		v.count(0)
	case errors.Is(v.clusterErr, fs.ErrNotExist) && !v.identity:
		if len(v.chains) > 0 {
			v.r.note(Problem{Kind: NoteForeign, Object: fragment.ClusterKey, Detail: "is not there, nor is any other sign of a node: the chains are taken as they are"})
		}
	default:
		v.object(fragment.ClusterKey, v.clusterErr)
	}
	return nil
}

// boot checks nodes/<identity>/<boot>.
func (v *verifier) boot(ctx context.Context, key string) error {
	var o bootObject
	ok, err := v.json(ctx, key, &o)
	if err != nil {
		return err
	}
	v.boots[key] = o.Nonce
	switch {
	case !ok:
	case fragment.ProbeKey(o.Identity) == key:
		// A node tried whether others find what it writes: nothing rests on it.
	case fragment.BootKey(o.Identity, o.Boot) != key:
		v.r.problem(Problem{Kind: KindMisplaced, Object: key, Detail: fmt.Sprintf("holds boot %d of %q", o.Boot, o.Identity)})
	default:
		v.ofCluster(key, o.Cluster)
	}
	return nil
}

// incarnation checks incarnations/<n>.
func (v *verifier) incarnation(ctx context.Context, key string) error {
	var o incarnationObject
	ok, err := v.json(ctx, key, &o)
	if err != nil {
		return err
	}
	switch {
	case !ok:
	case fragment.IncarnationKey(o.Incarnation) != key:
		v.r.problem(Problem{Kind: KindMisplaced, Object: key, Detail: fmt.Sprintf("holds incarnation %d", o.Incarnation)})
	default:
		v.ofCluster(key, o.Cluster)
	}
	return nil
}

// json reads an object of the cluster's own into o, and counts it. False: it can't
// be read, and that is reported.
func (v *verifier) json(ctx context.Context, key string, o any) (ok bool, err error) {
	size, err := readJSON(ctx, v.store, key, o)
	if _, damaged := errors.AsType[*jsonError](err); err != nil && !damaged && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	v.count(size)
	if err != nil {
		v.object(key, err)
	}
	return err == nil, nil
}

// ofCluster checks the cluster that such an object names.
func (v *verifier) ofCluster(key, cluster string) {
	if !v.cluster.IsZero() && cluster != v.cluster.String() {
		v.r.problem(Problem{Kind: KindMisplaced, Object: key, Detail: "is of cluster " + cluster})
	}
}

// written checks that the boot which wrote an object is on record.
func (v *verifier) written(ctx context.Context, object, node string, boot uint64, nonce fragment.Nonce) error {
	key := fragment.BootKey(node, boot)
	if !v.identity || v.noBoot[key] {
		return nil
	}
	have, ok := v.boots[key]
	if !ok {
		var o bootObject
		if _, err := readJSON(ctx, v.store, key, &o); errors.Is(err, fs.ErrNotExist) {
			v.noBoot[key] = true
			v.r.problem(Problem{Kind: KindMissing, Object: key, Detail: "is not there, though that boot wrote " + object})
			return nil
		} else if err != nil {
			return err
		}
		have = o.Nonce
		v.boots[key] = have
	}
	if have != "" && have != nonce.String() {
		v.r.problem(Problem{Kind: KindMismatch, Object: object, Detail: fmt.Sprintf("has nonce %s, its boot %s has %s", nonce, key, have)})
	}
	return nil
}

func (v *verifier) foreign(key string) {
	detail := "is none of wpd's keys"
	switch {
	case strings.HasPrefix(key, "probe/"):
		detail = "was left by a check of the bucket that was cut short; it may be deleted"
	case strings.HasPrefix(key, "scratch/"):
		detail = "what a bench makes and removes; if none is running, one was cut short, and it may be deleted"
	}
	v.r.note(Problem{Kind: NoteForeign, Object: key, Detail: detail})
}

// object reports an object that can't be read, by itself.
func (v *verifier) object(key string, err error) {
	v.r.problem(Problem{Kind: kindOf(err), Object: key, Detail: reason(err)})
}

// lost reports a lost range.
func (v *verifier) lost(p Problem) {
	switch n := uint64(p.To - p.From); {
	case p.Kind == KindNewer: // a newer program can read them
	case n < lostUnknown:
		v.r.Lost += n
	default:
		p.Detail += "; nobody knows how many of these LSNs had an entry"
	}
	v.r.problem(p)
	if l := v.logs[p.Log]; l != nil {
		l.skip()
	}
}

// count takes in an object that was read.
func (v *verifier) count(size int64) {
	v.r.Objects++
	v.r.Bytes += uint64(size)
	v.progress.Objects, v.progress.Bytes = v.r.Objects, v.r.Bytes
	if v.r.Objects%progressEvery == 0 {
		v.opts.tell(v.progress)
	}
}

// name is that of a log.
func (v *verifier) name(id fragment.LogID) string {
	if l := v.logs[id]; l != nil {
		return l.name
	}
	return ""
}

// successor returns a chain of a later boot of the same writer. In one boot it
// may have several: a log can have one of its own.
func (v *verifier) successor(c *chain) *chain {
	if c.opening == nil {
		return nil
	}
	i := slices.IndexFunc(v.chains, func(x *chain) bool {
		return x.opening != nil && x.opening.Node == c.opening.Node && x.opening.Boot > c.opening.Boot
	})
	if i < 0 {
		return nil
	}
	return v.chains[i]
}
