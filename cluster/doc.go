// Package cluster makes this process a member of a wpd cluster: it owns the
// data directory, knows who this node is, finds the others, runs the raft group
// that replicates package fsm, and keeps the leases of nodes.
//
// # What callers may rely on
//
// Open returns a member that is ready: it belongs to a group that has a leader,
// has applied all that was committed before, has registered this start as a new
// boot, and has found nothing in the bucket that its metadata should know and
// does not. It takes these steps, each of which may be the last before a crash:
//
//  1. the data directory is locked and its format version checked;
//  2. identity and cluster id are made up and stored in raft's stable store
//     (fsynced);
//  3. cluster.json is created in the bucket, or found to be of this cluster;
//  4. the boot number is counted up (fsynced), then nodes/<identity>/<boot>
//     is created in the bucket. Losing that create means that the data
//     directory was copied, or restored from an older copy;
//  5. raft is bootstrapped, if this node is a founder and it never was, and
//     started; a node that is no member asks the leader to become one;
//     InitCluster and RegisterBoot are proposed;
//  6. the bucket is asked for a later incarnation, and for a chain above the
//     highest epoch granted.
//
// Propose returns once its command is committed, fsynced and applied, and
// tells apart what was refused, what was not done and what is unknown. View
// reads the state as it is applied here; after Confirm it is at least as
// recent as the moment of that call. Both work at every member.
//
// All methods are safe for concurrent use. Close waits for everything that
// the member has started; only timers of memberlist may take a second more.
//
// # Alone, and in company
//
// Without Config.Listen the group has one member and no network. With it the
// node tells others of itself by gossip, which finds nodes and nothing else.
// New nodes become a cluster in one of three ways:
//
//   - Config.Bootstrap: this node alone, at once;
//   - Config.Expect: as many new nodes as that, once they see each other and
//     can read each other's probe object in the bucket. The one with the lowest
//     identity creates cluster.json, which names all of them as founders, and
//     each founder bootstraps raft with exactly these. Nothing else decides, so
//     that any of them may crash at any step and go on from there;
//   - otherwise, and whenever cluster.json names other founders: by Peers.Join.
//     The leader reads the newcomer's boot object in its own bucket first, so
//     that a bucket that is not shared is found out, and takes it in without a
//     vote. Autopilot gives votes to members that are well, up to three or five.
//
// A data directory that began without a network can be given one later. Members
// are found by their identity: an address may change at any start, those of all
// at once too.
//
// A connection for raft begins with a hello of both ends (hello.go), each of
// which proves its boot by the nonce in the metadata or in the bucket. Another
// cluster, another node than the one meant, a node that was removed, and
// whatever else comes to the port never get as far as raft.
//
// # Leaving
//
// Remove takes a node out for ever: a tombstone in the metadata, then raft's
// configuration. The node fails with a *RemovedError when it hears of it, and
// does not start again. So is removed, by the leader, who was not heard of for
// Autopilot.RemoveDeadAfter; and whose name another identity asks for, when its
// lease has lapsed and it can't be reached: that is how a node comes back whose
// data directory was wiped. A removal never leaves a group without a majority
// that answers.
//
// A leader whose disk or state stands still for Config.StallMax gives leadership
// up; see watchdog.
//
// # Leases
//
// One lease per boot of a node covers all its chains. The node renews it at the
// leader, which answers once it has confirmed, after the renewal came, that it
// leads, and names the chains that it renews. The node holds a chain (Lease)
// until a TTL after it sent the last renewal that was answered for it, or asked
// for the grant, by the clock that went further, monotonic or wall. The leader
// has a chain sealed a TTL after it answered last, by its monotonic clock, and
// not before it has led for a TTL itself; so no chain is given away while its
// writer believes that it holds it, as long as monotonic clocks run at one pace.
// It names who seals, and another node if the first is gone or takes long. What
// the leader knows of the nodes beside the metadata is in memory only, and ends
// with its term. A lease is for liveness: what makes a late write harmless is
// the seal.
//
// The leader also chooses who writes a log that nobody writes (Place), and which
// logs had better move (Moves).
//
// # Starting over
//
// Where the metadata are lost, or a majority is, a Recovery makes the next
// incarnation of them, offline, in the data directory of one node, out of what
// is left and what the bucket tells. See there.
//
// # What it refuses
//
// Two processes on one data directory, a directory of a newer version or of
// something else, one whose cluster is not the bucket's, a second cluster in
// one bucket, copied or rolled-back metadata, damaged raft files, two nodes of
// one name, a bucket that the nodes don't share. Each is an error of its own
// that says what was found and what to do.
//
// With Config.Dir empty everything is in memory: the metadata ends with the
// Member, and the bucket can't be opened a second time by it. That is for mem://
// buckets and tests, in synctest bubbles too.
package cluster
