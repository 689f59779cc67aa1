package cluster

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/wal/offline"
)

// How far the next incarnation leaps over what is known to be given out: what an
// earlier one gave out, or still gives out somewhere, and never left a trace of
// in the bucket, must not be given out again. Log ids are what clients hold on
// to, and epochs and attachments what tells the stays of a zombie from ours.
const (
	epochsLeap      = 1 << 20
	logsLeap        = 1 << 20
	attachmentsLeap = 1 << 16 // of 2³²
	// generationsLeap is the same for the exclusive writers of a log: those of
	// earlier incarnations are fenced, and open again.
	generationsLeap = 1 << 10
)

// Found is what the bucket holds beyond the metadata.
type Found struct {
	Chains []*offline.FoundChain // all that the metadata lack, or don't know the seal of, or suspect
	// Cuts are those of the chains, each list in a row: from fragment 1 on, or,
	// of a chain that the metadata know, behind the last one that they know.
	Cuts map[fragment.Epoch][]fsm.Cut
	// Seals are those of the chains that the metadata don't know to be sealed. A
	// preview has none yet: then nil.
	Seals map[fragment.Epoch]fsm.Seal
}

// adoption puts what was found into a state.
type adoption struct {
	*fsm.State
	r       *Recovery
	found   Found
	index   uint64
	preview bool
	stays   map[fragment.LogID][]offline.FoundStay // by attachment
	where   map[fragment.Attachment]offline.FoundStay
	opened  map[fragment.Epoch]fragment.Micros // when the first object of each chain that was found was made
	highest fragment.LogID                     // that the metadata had given out
	report  *RecoveryReport
}

// Preview tells what Finish would do, and changes nothing.
func (r *Recovery) Preview(ctx context.Context, f Found) (*RecoveryReport, error) {
	a, err := r.adopt(ctx, f, true)
	if err != nil {
		return nil, err
	}
	return a.report, nil
}

// Finish puts what was found, after Begin, into the metadata, and writes them to
// the data directory.
func (r *Recovery) Finish(ctx context.Context, f Found) (*RecoveryReport, error) {
	if goal := r.goal(f); goal != r.target {
		return nil, fmt.Errorf("recover: incarnation %d was begun by somebody else while this one, %d, was being made: run it again", goal-1, r.target)
	}
	a, err := r.adopt(ctx, f, false)
	if err != nil {
		return nil, err
	}
	if err := guard(func() error { return r.write(a.State, a.index) }); err != nil {
		return nil, fmt.Errorf("recover: write to data directory %s: %w", r.config.Dir, err)
	}
	return a.report, nil
}

func (r *Recovery) adopt(ctx context.Context, f Found, preview bool) (*adoption, error) {
	fork, err := fork(r.state)
	if err != nil {
		return nil, err
	}
	a := &adoption{
		State: fork, r: r, found: f, index: r.index, preview: preview, highest: r.state.HighestLog(),
		stays: make(map[fragment.LogID][]offline.FoundStay), where: make(map[fragment.Attachment]offline.FoundStay),
		opened: make(map[fragment.Epoch]fragment.Micros), report: newReport(r, f),
	}
	nodes, err := claimants(ctx, r.config.Bucket)
	if err != nil {
		return nil, err
	}
	a.sort()
	for _, step := range []func() error{a.cuts, a.begin, func() error { return a.bury(nodes) }, a.chains, a.logs, a.Check} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("recover: %w", err)
		}
	}
	a.report.count(a.State)
	return a, nil
}

// fork returns a copy of a state.
func fork(s *fsm.State) (copied *fsm.State, err error) {
	out, in := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { _ = in.CloseWithError(s.Snapshot(in)) }) // who reads sees the error
	defer wg.Wait()
	defer out.Close() //nolint:errcheck // it never fails
	return fsm.Restore(out)
}

// do applies a command; its refusal is an error.
func (a *adoption) do(c *fsmpb.Command) error {
	a.index++
	res, err := a.Apply(a.index, c)
	return cmp.Or(err, res.Err)
}

// sort puts the stays that were found in order. Of two with one number, which no
// cluster gives out, that on the later chain counts.
func (a *adoption) sort() {
	for _, c := range a.found.Chains {
		a.opened[c.Epoch] = c.Time
		for _, s := range c.Stays {
			if old, ok := a.where[s.Attachment]; ok {
				a.report.conflict("attachment %d is that of log %d on chain %d and of log %d on chain %d: the latter counts",
					s.Attachment, old.Log, uint64(old.Epoch), s.Log, uint64(s.Epoch))
			}
			a.where[s.Attachment] = s
		}
	}
	for _, s := range a.where {
		a.stays[s.Log] = append(a.stays[s.Log], s)
	}
	for _, all := range a.stays {
		slices.SortFunc(all, func(x, y offline.FoundStay) int { return cmp.Compare(x.Attachment, y.Attachment) })
	}
}

// cuts takes in those of chains that the metadata know as open. Afterwards none
// are.
func (a *adoption) cuts() error {
	for _, x := range a.found.Chains {
		if c, ok := a.Chain(x.Epoch); !ok || c.State != fsm.ChainOpen {
			continue
		}
		for _, cut := range a.found.Cuts[x.Epoch] {
			if err := a.do(fsm.NewAddCut(x.Epoch, cut)); err != nil {
				return fmt.Errorf("take in a cut of chain %d: %w", uint64(x.Epoch), err)
			}
		}
	}
	return nil
}

// begin begins the incarnation, with the new node as its only member.
func (a *adoption) begin() error {
	me := a.r.me.Identity
	epoch, log, attachment := a.HighestEpoch(), a.HighestLog(), a.HighestAttachment()
	if l := a.r.local; l != nil {
		epoch, log, attachment = max(epoch, l.HighestEpoch()), max(log, l.HighestLog()), max(attachment, l.HighestAttachment())
	}
	for _, c := range a.found.Chains {
		epoch = max(epoch, c.Epoch)
	}
	for _, s := range a.where {
		log, attachment = max(log, s.Log), max(attachment, s.Attachment)
	}
	attachment += min(attachmentsLeap, fsm.AttachmentMax-min(attachment, fsm.AttachmentMax))
	for target := a.r.goal(a.found); a.Cluster().Incarnation < target; {
		c := fsm.NewNextIncarnation(a.Cluster().Incarnation, epoch+epochsLeap, log+logsLeap, attachment, []string{me}, me)
		if err := a.do(c); err != nil {
			return fmt.Errorf("begin the next incarnation: %w", err)
		}
	}
	b := a.r.boot
	if err := a.do(fsm.NewRegisterBoot(fsm.Node{Identity: me, Name: a.r.me.Name, Boot: b.Number, Nonce: b.nonce, Feature: fsm.FeatureLevel})); err != nil {
		return fmt.Errorf("register node %s: %w", me, err)
	}
	a.report.Incarnation = a.Cluster().Incarnation
	return nil
}

// goal is the incarnation that is claimed, or, in a preview, would be: above all
// that anything tells of.
func (r *Recovery) goal(f Found) uint64 {
	n := max(r.begun, r.state.Cluster().Incarnation)
	if r.local != nil {
		n = max(n, r.local.Cluster().Incarnation)
	}
	for _, c := range f.Chains {
		n = max(n, c.Highest)
	}
	return max(r.target, n+1)
}

// bury makes all nodes removed ones that the metadata don't know: what is left of
// them is turned away at the door.
func (a *adoption) bury(nodes map[string]uint64) error {
	for _, identity := range slices.Sorted(maps.Keys(nodes)) {
		if _, known := a.Node(identity); known || fsm.CheckNodeName("identity", identity) != nil {
			continue
		}
		n := fsm.Node{Identity: identity, Name: identity, Boot: nodes[identity], Feature: fsm.FeatureLevel}
		if err := a.do(fsm.NewRegisterBoot(n)); err != nil {
			return fmt.Errorf("register node %s: %w", identity, err)
		}
		if err := a.do(fsm.NewRemoveNode(identity)); err != nil {
			return fmt.Errorf("remove node %s: %w", identity, err)
		}
		a.report.removed(identity)
	}
	return nil
}

// unknownNode is whose a chain is of which no object tells.
const unknownNode = "unknown"

// chains puts in the chains that the metadata lack, and the seals.
func (a *adoption) chains() error {
	for _, x := range a.found.Chains {
		c, known := a.Chain(x.Epoch)
		switch {
		case known && x.Opening != nil && (x.Opening.Node != c.Node || x.Opening.Boot != c.Boot):
			return fmt.Errorf("chain %d was opened by boot %d of node %s, the metadata say boot %d of node %s: "+
				"they are not this cluster's past; use other metadata, or a new data directory and none",
				uint64(x.Epoch), x.Opening.Boot, x.Opening.Node, c.Boot, c.Node)
		case known, !x.Written():
			continue // what was never written needs no record: nobody gets the epoch again
		}
		adopted := fsm.Chain{
			Epoch: x.Epoch, Node: unknownNode, Boot: 1, Incarnation: max(x.Incarnation, 1), Window: fsm.WindowMax, Kind: fsm.KindObjects,
			Sealer: a.r.me.Identity, Cuts: a.found.Cuts[x.Epoch],
		}
		if o := x.Opening; o != nil {
			adopted.Node, adopted.Boot, adopted.Window = o.Node, o.Boot, max(o.Window, 1)
		}
		if err := a.do(fsm.NewAdoptChain(adopted)); err != nil {
			return fmt.Errorf("take in chain %d: %w", uint64(x.Epoch), err)
		}
		a.report.ChainsAdopted++
	}
	return a.seals()
}

// seals puts in the seals. In a preview, any will do.
func (a *adoption) seals() error {
	for _, c := range slices.Collect(a.Unsealed()) {
		s, ok := a.found.Seals[c.Epoch]
		if a.preview {
			s, ok = fsm.Seal{At: 1, Index: fsm.Ref{Key: "preview", Size: 1}}, true
			if n := len(c.Cuts); n > 0 {
				s.At = c.Cuts[n-1].To
			}
		}
		if !ok {
			return fmt.Errorf("chain %d is not sealed", uint64(c.Epoch))
		}
		if err := a.do(fsm.NewSeal(c.Epoch, s)); err != nil {
			return fmt.Errorf("seal chain %d: %w", uint64(c.Epoch), err)
		}
		a.report.ChainsSealed++
	}
	return nil
}
