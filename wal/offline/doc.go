// Package offline reads and verifies logs by their bucket alone: no node, no
// metadata, no data directory. It writes nothing.
//
// Open finds the chains, and in them the logs: the first slice under an
// attachment says which log it is, how it is configured, and where its extent
// begins. Bucket.Read gives a log's entries over all its extents; Verify reads
// every object and holds all that the bucket says against itself.
//
// A Finder tells, for who makes lost metadata anew, what chains there are, and
// which stays of logs are on them.
//
// Where the metadata are there, Part, CheckIndex and their like hold a piece of a
// bucket against what those say of it: the scrub is made of them.
//
// What callers may rely on:
//
//   - Damage costs what it hits and no more: a lost range is reported as an
//     *api.DataLossError, for exactly that range, and reading goes on behind it.
//   - What stands behind a seal, behind the first hole of a chain that is not
//     sealed, or in an older chain at or past the LSN where the log went on in
//     a newer one, is not part of any log and never read as such.
//   - Both work while nodes write to the bucket, and then see a prefix: at
//     least what was durable when Open, or Verify, began.
//   - Memory does not grow with the number of entries or fragments, but for a
//     few bytes per 64 fragments.
//
// What the bucket alone can't tell: trims and configuration changes since a log
// was attached last, logs that were deleted (they are there still), and logs
// that nothing was appended to yet. Nor that the last fragments of a chain
// which is not sealed are lost, if nobody heard of them.
package offline
