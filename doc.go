// Package wpd is the Go API of wpd, a write-ahead log service on object
// storage: named logs of entries, appended in batches, durable in a bucket
// before they are acknowledged, and read back in order from anywhere.
//
// A [Client] comes from [Dial], which connects to a service, or from package
// node, which runs one inside the program (node.Open, then Client): what it
// does and promises is the same. From it come handles of logs, and from those a
// [Writer] and a [Reader]:
//
//	log, err := client.Create(ctx, "orders", wpd.LogConfig{})
//	w, err := log.Writer(ctx)
//	lsn, err := w.Append(ctx, []byte("first"))   // durable on return
//	for entry, err := range log.Read(ctx, wpd.Earliest) { … }
//
// # What callers may rely on
//
// An acknowledged entry is durable in the object store and has its LSN for
// ever. LSNs of a log are dense and start at 1; 0 means none; ranges are
// half-open, [from, to). The entries of one Writer stand in the log in the
// order of its calls; a batch is there whole or not at all.
//
// The outcome of an append is one of three. Acknowledged: a nil error.
// Unknown: the error Is [ErrUncertain], and the entry may be in the log or
// appear in it later. Refused: any other error, and the entry is not in the
// log and never will be, with one exception that says so ([ErrStored]).
// A Writer repeats what got no clear answer, with bytes and sequence
// unchanged, so that nothing is stored twice. To carry that over a restart
// of the program, name the producer: see [ProducerID] and [Writer.Stored].
//
// A Client, a Log and a Writer may be used by any number of goroutines at the
// same time; a Reader by one at a time. Every context bounds only the call
// that it is given to.
//
// The format of what is stored is specified in docs/format.md.
package wpd
