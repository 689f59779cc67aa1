// Package testcluster runs real nodes on faulty stores, and judges what they
// promised by what is read back. It is made for the tests of wpd itself and
// for those of programs that embed it; nothing that ships imports it.
//
// The parts:
//
//   - [Ledger] remembers every append: the intent before it is sent, the
//     outcome after. Its lines can go to a file or a pipe, so that it outlives
//     a killed process; [Replay] reads them back.
//   - [Check] holds what was read back against a ledger, rule by rule.
//   - [World] is a bucket and a data directory that outlive nodes; [World.Start]
//     starts a node on them, [Proc.Crash] cuts it off and drops it.
//   - [Network] lets clients dial the nodes of a world, in memory, and cuts their
//     connections at chosen bytes.
//   - [Load] is a workload of several logs and producers that keeps a ledger.
//
// Every entry carries {run, log, producer, sequence, nonce, checksum}, so that
// one that is read back says by itself which append it comes from.
package testcluster
