package cluster

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// keyRecovery is where the stable store says that the directory is being made
// that of the next incarnation.
var keyRecovery = []byte("wpd/recovery")

// recoveryMark is that record. While it is not Done, what the directory holds
// does not belong together, and no node starts on it.
type recoveryMark struct {
	Version     int    `json:"version"`
	Incarnation uint64 `json:"incarnation"`
	Done        bool   `json:"done"`
}

// checkRecovered refuses a directory in which a recovery was cut off.
func checkRecovered(s raft.StableStore, dir string) error {
	var mark recoveryMark
	found, err := getJSON(s, keyRecovery, &mark)
	if err != nil || !found || mark.Done {
		return err
	}
	return &RecoveryCutError{Dir: dir, Incarnation: mark.Incarnation}
}

// loadMetadata reads the state that the newest snapshot and all of the raft log
// of the data directory make, and how far both go.
func (r *Recovery) loadMetadata() error {
	s := r.stores
	snaps, err := s.snaps.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	state := fsm.New()
	if len(snaps) > 0 {
		r.index, r.term = snaps[0].Index, snaps[0].Term
		_, in, err := s.snaps.Open(snaps[0].ID)
		if err != nil {
			return fmt.Errorf("open snapshot %s: %w", snaps[0].ID, err)
		}
		if state, err = restoreFrom(in); err != nil {
			return fmt.Errorf("read snapshot %s: %w", snaps[0].ID, err)
		}
	}
	before := make(map[fragment.LogID]*fsm.Log)
	for l := range state.Logs("") {
		before[l.ID] = l
	}
	if err := r.replay(state); err != nil {
		return err
	}
	if state.Cluster().ID.IsZero() {
		return nil // it never got a command: there is nothing to begin with
	}
	r.local = state
	for l := range state.Logs("") {
		if before[l.ID] == l {
			continue // records are replaced, never changed
		}
		for _, x := range l.Extents[max(0, len(l.Extents)-2):] {
			r.suspect = append(r.suspect, x.Epoch)
		}
	}
	slices.Sort(r.suspect)
	r.suspect = slices.Compact(r.suspect)
	return nil
}

func restoreFrom(in io.ReadCloser) (*fsm.State, error) {
	state, err := fsm.Restore(in)
	return state, errors.Join(err, in.Close())
}

// replay applies what the raft log holds behind the snapshot.
func (r *Recovery) replay(state *fsm.State) error {
	last, err := r.stores.logs.LastIndex()
	if err != nil {
		return fmt.Errorf("read the last index: %w", err)
	}
	for i := r.index + 1; i <= last; i++ {
		var entry raft.Log
		if err := r.stores.logs.GetLog(i, &entry); err != nil {
			return fmt.Errorf("read raft log entry %d: %w", i, err)
		}
		r.index, r.term = i, max(r.term, entry.Term)
		if entry.Type != raft.LogCommand {
			continue
		}
		c, err := openEnvelope(i, entry.Data)
		if err != nil {
			return err
		}
		if _, err := state.Apply(i, c); err != nil {
			return fmt.Errorf("apply raft log entry %d: %w", i, err)
		}
	}
	return nil
}

// write makes the directory that of a group of one node, with a state that was
// applied up to an index. Until the mark is done, no node starts on it.
func (r *Recovery) write(state *fsm.State, index uint64) error {
	s := r.stores
	if err := setJSON(s.stable, keySelf, r.me); err != nil {
		return err
	}
	r.boot.Claimed = true
	if err := setJSON(s.stable, keyBoot, r.boot); err != nil {
		return err
	}
	// A term that no vote was given in yet, above all that the snapshot must
	// come after.
	term, err := s.stable.GetUint64(keyTerm)
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("read the raft term: %w", err)
	}
	term = max(term, r.term) + 1
	if err := s.stable.SetUint64(keyTerm, term); err != nil {
		return fmt.Errorf("write the raft term: %w", err)
	}
	if err := r.writeSnapshot(state, index, term); err != nil {
		return err
	}
	first, err := s.logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("read the first index: %w", err)
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		return fmt.Errorf("read the last index: %w", err)
	}
	if last > 0 {
		if err := s.logs.DeleteRange(first, last); err != nil {
			return fmt.Errorf("delete the raft log: %w", err)
		}
	}
	return setJSON(s.stable, keyRecovery, recoveryMark{Version: recordVersion, Incarnation: r.target, Done: true})
}

func (r *Recovery) writeSnapshot(state *fsm.State, index, term uint64) error {
	address, transport := raft.NewInmemTransport(raft.ServerAddress(r.me.Identity))
	only := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(r.me.Identity), Address: address}}}
	sink, err := r.stores.snaps.Create(raft.SnapshotVersionMax, index, term, only, index, transport)
	if err != nil {
		return fmt.Errorf("create a snapshot: %w", err)
	}
	if _, err := persist(state.Freeze(), sink); err != nil {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return transport.Close()
}
