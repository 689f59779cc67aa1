// Package fragment is the byte format of wpd: batches, and the objects that
// hold them. It is pure: bytes and values in, bytes and values out, no files,
// no network, no clock, no goroutines.
//
// A Batch is made once, by its producer (BatchBuilder), and its bytes travel
// unchanged through node, store and cache to the reader, but for the fields
// that the node stamps (Batch.Stamp). An Object is what stands in the bucket
// under one key: a fragment with slices of many logs (Builder), or a small
// one without (Encode): the opening, a gap or the seal of a chain, an index.
//
// Whoever decodes may rely on this: every length is checked against what is
// left and against its limit before anything is allocated; damage is a
// *CorruptError that says where, a format that is too new is a *VersionError,
// and no input panics. Every byte of an object is covered by a checksum that
// Decode checks; a batch fetched alone is covered by its own two.
//
// The byte tables are in docs/format.md.
package fragment
