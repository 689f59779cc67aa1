package testcluster

import "github.com/wpd-io/wpd/fragment"

// The zstd coders are made on first use, and hold channels, which must not
// belong to the bubble of whichever test comes first: no other could use them.
// So whoever links this package has them from the start.
func init() {
	var b fragment.BatchBuilder
	_ = b.Add(nil, make([]byte, 1000))
	if _, err := b.Finish(fragment.BatchMeta{Codec: fragment.CodecZstd}).Entries(); err != nil {
		panic(err)
	}
}
