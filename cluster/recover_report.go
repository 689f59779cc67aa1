package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// RecoveryReport is what a recovery found and did, or would do.
type RecoveryReport struct {
	Cluster     string `json:"cluster"`
	Incarnation uint64 `json:"incarnation"` // that begins
	Node        string `json:"node_id"`
	Identity    string `json:"identity"` // of the only member
	// RaftIndex is that of the metadata, and BucketRaftIndex the highest one that
	// the bucket tells of in the same incarnation, 0 if none does: as far as
	// that is above, the metadata were behind.
	RaftIndex       uint64 `json:"raft_index"`
	BucketRaftIndex uint64 `json:"bucket_raft_index"`
	// Chains and LogsTotal are all that there are afterwards; of the chains, so
	// many were not known and so many not known to be sealed.
	Chains        int `json:"chains"`
	ChainsAdopted int `json:"chains_adopted"`
	ChainsSealed  int `json:"chains_sealed"`
	LogsTotal     int `json:"logs_total"`
	Fenced        int `json:"logs_fenced"` // whose exclusive writers must open again
	// Logs are those that the bucket was asked about: all of which something is
	// on a chain that the metadata lack or did not know to be sealed.
	Logs      []RecoveredLog `json:"logs"`
	Dropped   []DroppedLog   `json:"logs_dropped"`
	Removed   []string       `json:"nodes_removed"` // identities
	Conflicts []string       `json:"conflicts"`
}

// The states of a RecoveredLog.
const (
	logAdopted = "adopted" // the metadata did not know it
	logWentOn  = "went on" // it was moved, or taken over, after they were saved
	logKnown   = "known"   // it is where they say
)

// RecoveredLog is a log as it was found.
type RecoveredLog struct {
	Name      string         `json:"name"`
	ID        fragment.LogID `json:"log_id"`
	State     string         `json:"state"`
	First     fragment.LSN   `json:"first_lsn"`
	Tail      fragment.LSN   `json:"tail"`
	Missing   bool           `json:"missing,omitempty"`   // objects are lost behind the tail that may have held more
	Exclusive bool           `json:"exclusive,omitempty"` // its writers must open it again
}

// DroppedLog is one that the bucket, or the metadata, still tell of.
type DroppedLog struct {
	Name   string         `json:"name"`
	ID     fragment.LogID `json:"log_id"`
	Reason string         `json:"reason"`
}

func newReport(r *Recovery, f Found) *RecoveryReport {
	rep := &RecoveryReport{
		Cluster: r.me.Cluster, Node: r.me.Name, Identity: r.me.Identity, RaftIndex: r.state.AppliedIndex(),
		Logs: []RecoveredLog{}, Dropped: []DroppedLog{}, Removed: []string{}, Conflicts: []string{},
	}
	if r.Fresh() {
		rep.RaftIndex = 0
	}
	for _, c := range f.Chains {
		if c.Highest == r.state.Cluster().Incarnation {
			rep.BucketRaftIndex = max(rep.BucketRaftIndex, c.Applied)
		}
	}
	for n := range r.state.Nodes() {
		if !n.Removed {
			rep.removed(n.Identity)
		}
	}
	return rep
}

func (r *RecoveryReport) conflict(format string, args ...any) {
	r.Conflicts = append(r.Conflicts, fmt.Sprintf(format, args...))
}

func (r *RecoveryReport) drop(f facts, reason string) {
	r.Dropped = append(r.Dropped, DroppedLog{Name: f.Name, ID: f.ID, Reason: reason})
}

func (r *RecoveryReport) removed(identity string) { r.Removed = append(r.Removed, identity) }

// count takes in what there is afterwards.
func (r *RecoveryReport) count(s *fsm.State) {
	r.Chains, r.LogsTotal = s.ChainCount(), s.LogCount()
	slices.SortFunc(r.Logs, func(a, b RecoveredLog) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	slices.Sort(r.Removed)
}
