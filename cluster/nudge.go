package cluster

import "time"

// nudgeAfter is how long a leader waits for the next commit before it nudges its
// followers.
const nudgeAfter = 2 * time.Millisecond

// nudging tells followers soon of the last commits here, until the member is
// closing. In raft they hear of a commit with what comes next: if nothing does,
// after up to 100 ms, for which whoever has proposed it at a follower waits, and
// twice who hands a log over from one follower to another. So where nothing
// comes, a barrier does: an entry of the raft log that does nothing. Many commits
// in a row need none.
func (m *Member) nudging() {
	for {
		select {
		case <-m.committed:
		case <-m.closing:
			return
		}
		last := m.raft.LastIndex()
		pause := time.NewTimer(nudgeAfter)
		select {
		case <-pause.C:
		case <-m.closing:
			pause.Stop()
			return
		}
		if m.raft.LastIndex() == last && m.leads() {
			_ = m.barrier(m.raft.CurrentTerm()) // without it, they hear later
		}
	}
}

// nudge says that something was committed here.
func (m *Member) nudge() {
	select {
	case m.committed <- struct{}{}:
	default:
	}
}
