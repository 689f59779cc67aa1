// Package blobtest is what tests of object stores, and tests on top of object
// stores, are made of:
//
//   - [Run], one suite that every [blobstore.Raw] must pass;
//   - [Mem], a store in memory, which tests keep across reopens of what they
//     put on it;
//   - [Faults], a store around a store that fails, delays, loses replies, holds
//     creates back and spoils reads, as told, and counts what it did;
//   - [CrashFS], a file system in memory that forgets in a power loss what was
//     not synced, to run a file bucket or a whole node on.
//
// All of them may be used by many goroutines at the same time, and inside
// testing/synctest bubbles.
package blobtest
