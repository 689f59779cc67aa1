// Package doctor finds out whether an object store keeps the promises that wpd
// rests on, and how fast it is.
//
//	report, err := doctor.Examine(ctx, bucket, doctor.Options{})
//	if err != nil {
//		return err // it could not be used at all
//	}
//	if report.Verdict() == doctor.Broken {
//		… // nothing that is acknowledged on this store is safe
//	}
//
// The first promise is the conditional create, of which exactly one succeeds: a
// seal that is created where a fragment is missing rests on it, and without it a
// writer that was thought dead goes on acknowledging. It is tried in many races,
// in which other processes may take part (see [Crew]): a server may hold a lock
// that is one for each connection, or a cache that is one for each process.
//
// What a doctor can't see: whether what is stored survives a loss of power or of
// a machine, what the store does once in a million requests, and what it does
// under a load or a failure of its own. That a store kept its promises here is no
// proof that it always does. That it broke one is a proof.
//
// It works below a scratch prefix of its own, and removes what it has made. It
// may run beside a cluster that uses the same bucket.
package doctor
