// Package filebucket keeps objects as files below one directory, durably.
//
// It is what a file:// bucket is made of, and a driver for gocloud
// ([OpenBucket], [Bucket.Driver]). gocloud's own fileblob neither fences (two
// writers can both win a conditional create) nor syncs anything, so this package
// does both itself:
//
//   - Create writes an unnamed file (O_TMPFILE; where there is none, a file in
//     a hidden directory), fsyncs it, gives it its name with link(2), which
//     fails if the name is taken, and fsyncs the directory. Of any number of
//     creates of one key, in any number of processes, exactly one wins; an
//     object is seen whole or not at all; nil means that file and directory
//     entry are on the disk.
//   - Whoever concludes something from an object's existence needs to know that
//     a power loss cannot undo it. Another process may have linked the object
//     and died before its fsync of the directory. So a create that loses, a
//     read and a listing fsync the directory first, unless this process knows
//     that to be unnecessary (see [Bucket.ReadRange]).
//   - Listings come in the byte order of the keys, not of a directory walk, and
//     hold neither temporary files nor anything else that is not an object.
//
// # Keys and files
//
// The key a/b/c is the file a/b/c below the bucket's directory; there is no
// escaping, and [CheckKey] refuses what a file system may not hold. A key must
// not be a path prefix of another. The names ".wpd-*" and "lost+found" at the
// top are reserved. Directories are made when needed and never removed; who
// removes or replaces one while a process has the bucket open takes away the
// durability of what is created in it, until that process has noticed.
//
// # Failures
//
// A failed fsync of a file costs only that file: it has no name yet, and the
// next attempt writes a new one. A failed fsync of a directory poisons that
// directory for as long as the bucket is open, because the kernel may report a second
// fsync as good without having written what the first one lost: every create,
// delete, listing and first read in it fails from then on with an error
// wrapping [ErrPoisoned].
//
// System calls cannot be cancelled. A context is looked at before each step; a
// disk that hangs hangs the caller.
//
// # Testing
//
// [OpenFS] runs the same code on any [FS]; blobtest.CrashFS is one that forgets
// what was not synced.
package filebucket
