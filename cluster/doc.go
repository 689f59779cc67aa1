// Package cluster makes this process a member of a wpd cluster: it owns the
// data directory, knows who this node is, and runs the raft group that
// replicates package fsm. So far the group has one member.
//
// # What callers may rely on
//
// Open returns a member that is ready: it leads, has applied all that was
// committed before, has registered this start as a new boot, and has found
// nothing in the bucket that its metadata should know and does not. It takes
// these steps, each of which may be the last before a crash:
//
//  1. the data directory is locked and its format version checked;
//  2. identity and cluster id are made up and stored in raft's stable store
//     (fsynced);
//  3. cluster.json is created in the bucket; one of another cluster ends it;
//  4. the boot number is counted up (fsynced), then nodes/<identity>/<boot>
//     is created in the bucket. Losing that create means that the data
//     directory was copied, or restored from an older copy;
//  5. raft is bootstrapped, if it never was, and started; InitCluster and
//     RegisterBoot are proposed;
//  6. the bucket is asked for a chain above the highest epoch granted.
//
// Propose returns once its command is committed, fsynced and applied, and
// tells apart what was refused, what was not done and what is unknown. View
// reads the state as it is applied here; after Confirm it is at least as
// recent as the moment of that call.
//
// All methods are safe for concurrent use. Close waits for everything that
// the member has started.
//
// # What it refuses
//
// Two processes on one data directory, a directory of a newer version or of
// something else, one whose cluster is not the bucket's, a second cluster in
// one bucket, copied or rolled-back metadata, damaged raft files. Each is an
// error of its own that says what was found and what to do.
//
// With Config.Dir empty everything is in memory: the metadata ends with the
// Member, and the bucket can't be opened a second time. That is for mem://
// buckets and tests, in synctest bubbles too.
package cluster
