package blobstore

import (
	"context"
	"errors"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// s3Store is a bucket of S3, or of what speaks like it.
type s3Store struct {
	*transport
	client *s3.Client
	bucket string
	sse    types.ServerSideEncryption // "": as the bucket has it
	kmsKey *string
	trails bool // creates end with a checksum of the SDK's
}

// Create is one PutObject, whose body is sent from where it is: gocloud's upload
// would copy it.
func (s *s3Store) Create(ctx context.Context, key string, parts [][]byte) error {
	ctx, sending := withBodies(ctx)
	defer sending.wait()
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:               &s.bucket,
		Key:                  &key,
		Body:                 newPartsReader(parts),
		ContentLength:        aws.Int64(size(parts)),
		ContentType:          aws.String(contentType),
		IfNoneMatch:          aws.String("*"),
		ServerSideEncryption: s.sse,
		SSEKMSKeyId:          s.kmsKey,
	}, s.unsigned)
	return meaning(err)
}

// unsigned leaves the hash of the body out where TLS guards it. Over plain HTTP
// it is signed: nothing else would tell other bytes.
func (s *s3Store) unsigned(o *s3.Options) {
	if !s.trails {
		o.APIOptions = append(o.APIOptions[:len(o.APIOptions):len(o.APIOptions)], v4.UseDynamicPayloadSigningMiddleware)
	}
}

func (s *s3Store) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	r, err := httpRange(offset, length)
	if err != nil {
		return nil, 0, err
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, Range: &r})
	if err != nil {
		return pastEnd(err, offset, func() (int64, error) {
			head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
			if err != nil {
				return 0, err
			}
			return aws.ToInt64(head.ContentLength), nil
		})
	}
	bodyBytes := int64(-1)
	if out.ContentLength != nil {
		bodyBytes = *out.ContentLength
	}
	return readBody(out.Body, aws.ToString(out.ContentRange), bodyBytes, offset, length)
}

func (s *s3Store) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix}
		if after != "" {
			in.StartAfter = &after
		}
		for {
			page, err := s.client.ListObjectsV2(ctx, in)
			if err != nil {
				yield("", meaning(err))
				return
			}
			for _, o := range page.Contents {
				if key := aws.ToString(o.Key); key > after && !yield(key, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			if in.ContinuationToken = page.NextContinuationToken; aws.ToString(in.ContinuationToken) == "" {
				yield("", errors.New("the store cuts a listing short and does not say how to go on"))
				return
			}
		}
	}
}

// Delete does not look first whether the object is there, as gocloud would.
func (s *s3Store) Delete(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key})
	return meaning(err)
}

// Close ends the connections.
func (s *s3Store) Close() error {
	s.close()
	return nil
}
