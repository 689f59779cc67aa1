// Package testcluster runs real nodes on faulty stores and networks, and judges
// what they promised by what is read back. It is made for the tests of programs
// that use wpd, and for those of wpd itself; nothing that ships imports it.
//
// # A cluster in a test
//
// [New] makes some nodes, which are those of wpd serve but for the process
// around them, on one bucket and one network in memory:
//
//	func TestOrdersSurvive(t *testing.T) {
//		c := testcluster.New(t, 3)
//		log, err := c.Client().Create(t.Context(), "orders", wpd.LogConfig{})
//		…
//		c.Kill(c.Writer("orders"))  // SIGKILL; the others take over
//		…
//		c.Partition(c.Names(0), c.Names(1, 2))
//		…
//		c.Heal()
//	}
//
// It works in real time, and in a testing/synctest bubble, where leases of
// seconds lapse in milliseconds and a day of bad weather takes no longer than its
// work. In a bubble everything must belong to it: call New inside, and dial by
// [Cluster.Dial] or [Cluster.Client], not by TCP.
//
// What can happen to a cluster:
//
//   - to nodes: [Cluster.Kill], [Cluster.Stop], [Cluster.Start], [Cluster.Pause]
//     and [Cluster.Resume], [Cluster.Add], [Cluster.Remove];
//   - between nodes, clients and the store: [Cluster.Partition], [Cluster.Cut] and
//     [Cluster.Heal]; delays, and packets that are lost, doubled or late, by
//     [Cluster.Net], which also counts what was held up or broken;
//   - at the store: the Faults of each [Node], which fail, delay and hold back
//     requests, and lose answers;
//   - to disks: [Cluster.Wipe], [Cluster.SaveDir], [Cluster.RestoreDir].
//
// A node that is killed or paused here is still in this process. Killed, it is
// cut off from everything in one moment, and nothing of it reaches anybody
// any more but what had left it; what it still does to its own disk while it
// ends is as if it had died a moment later. Paused, it is as silent, but its
// clocks and timers go on, unlike those of a stopped process.
//
// In real time, a test that is to leave no goroutine behind has to excuse one:
// what memberlist probes when a node ends goes on for a second or a few. To
// goleak that is
//
//	goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probe")
//
// # What it promised
//
// [Ledger] remembers every append: the intent before it is sent, the outcome
// after. [Load] is a workload that keeps one; every entry carries {run, log,
// producer, sequence, nonce, checksum}, so that one that is read back says by
// itself which append it comes from. [Check] holds what was read back against a
// ledger, rule by rule, and [Cluster.Audit] does so after all faults have ended:
// through every node, through a new one with an empty disk, and from the bucket
// alone. A run in which little was acknowledged, or in which a fault that was
// ordered had no effect, does not pass.
//
// # The parts
//
// [Switch] is the network by itself: it fits wherever a program takes a function
// that dials and one that listens. [World] is a single node, more exactly
// its disk and its store, through many lives; [Network] lets clients dial it, and
// cuts their connections at chosen bytes. A ledger's lines can go to a file or a
// pipe, so that it outlives a killed process; [Ledger.Replay] reads them back.
package testcluster
