package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/wal/offline"
)

// verifyOffline verifies a bucket on its own, with no node and no data
// directory, and returns what was found right.
func verifyOffline(ctx context.Context, url string) (_ string, err error) {
	bucket, err := blobstore.Open(ctx, url, blobstore.Options{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	r, err := offline.Verify(ctx, bucket, offline.VerifyOptions{})
	if err != nil {
		return "", fmt.Errorf("verify: %w", err)
	}
	if !r.OK() {
		return "", &exitError{exitDataLoss, fmt.Errorf("verify: %s, the first: %v", plural(int(r.ProblemsTotal), "problem"), r.Problems[0])}
	}
	if r.Sealed != r.Chains {
		return "", fmt.Errorf("verify: %d of %d chains are sealed, although the node was closed", r.Sealed, r.Chains)
	}
	return fmt.Sprintf("the bucket by itself: %s in %s decode, %s whole up to the seal, %s entries each once",
		plural(int(r.Objects), "object"), sizeText(int64(r.Bytes)), plural(int(r.Chains), "chain"), countText(r.Entries)), nil
}
