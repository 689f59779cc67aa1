// Package blobstore makes object stores safe to build a log on.
//
// A [Bucket] offers what the rooms above need and nothing more: put-if-absent,
// ranged read, ordered list, delete. It speaks to file, s3, gs, azblob and mem
// through [Open], and to anything else through a [Raw]. The URLs are gocloud's;
// the clients behind them are the providers' own, opened so that nothing below
// repeats a request, copies an object, or outlives Close.
//
// # What callers may rely on
//
//   - [Bucket.Create] is a conditional create, retried with the same bytes until
//     the outcome is known or the context ends. Success means that exactly these
//     bytes are there and durable. A lost reply does not turn success into a
//     conflict: after an error the object is read back and compared; of one by
//     which the store asks for fewer requests, the next attempt tells instead.
//   - "Something else is there" ([ExistsError]) is final: nothing of ours will
//     ever be under that key, unless somebody deletes what is there now.
//   - Any other outcome is unknown ([UnknownError]), and says so. The bytes may
//     still appear after the call has returned.
//   - Reads and listings are retried a bounded number of times. An object that
//     does not exist is fs.ErrNotExist at once; a short read is never returned
//     as a whole one.
//   - A store that throttles, or does not answer in time, gets fewer requests at
//     once, and more again when it answers. Calls wait for their turn in line.
//   - All methods may be called at the same time. No method starts a goroutine
//     that outlives it.
//
// # What it refuses
//
// Objects of 16 MiB or more (S3 would split them, and the condition would guard
// only the last step), keys that some store cannot hold ([KeyError]), and
// overwriting: there is no call that replaces an object.
//
// It does not know what the bytes mean. Two writers that create the same bytes
// under the same key both succeed; a writer that must know which of them won
// puts a nonce into the first or last 64 bytes.
//
// # Example
//
//	b, err := blobstore.Open(ctx, "file:///var/lib/wpd/bucket", blobstore.Options{})
//	if err != nil {
//		return err
//	}
//	defer b.Close()
//	if err := b.Probe(ctx); err != nil {
//		return err // this store breaks a promise that wpd rests on
//	}
//	err = b.Create(ctx, "chains/7/1", header, body, footer)
//	if exists, ok := errors.AsType[*blobstore.ExistsError](err); ok {
//		log.Printf("%d bytes of somebody else: %x", exists.Size, exists.Head)
//	}
package blobstore
