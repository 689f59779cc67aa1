package blobstore

import (
	"context"
	"iter"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// azureStore is a container of Azure Blob Storage.
type azureStore struct {
	*transport
	client *container.Client
}

// Create is one Put Blob, whatever the size: gocloud would cut the body into
// blocks of a buffer.
func (s *azureStore) Create(ctx context.Context, key string, parts [][]byte) error {
	ctx, sending := withBodies(ctx)
	defer sending.wait()
	body := streaming.NopCloser(newPartsReader(parts))
	_, err := s.client.NewBlockBlobClient(key).Upload(ctx, body, &blockblob.UploadOptions{
		HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr(contentType)},
		AccessConditions: &blob.AccessConditions{
			ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)},
		},
	})
	return meaning(err)
}

func (s *azureStore) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	if _, err := httpRange(offset, length); err != nil {
		return nil, 0, err
	}
	r := blob.HTTPRange{Offset: offset, Count: max(length, 1)}
	if length > ObjectBytesMax {
		r.Count = blob.CountToEnd
	}
	b := s.client.NewBlobClient(key)
	out, err := b.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: r})
	if err != nil {
		return pastEnd(err, offset, func() (int64, error) {
			head, err := b.GetProperties(ctx, nil)
			if err != nil || head.ContentLength == nil {
				return 0, err
			}
			return *head.ContentLength, nil
		})
	}
	bodyBytes, contentRange := int64(-1), ""
	if out.ContentLength != nil {
		bodyBytes = *out.ContentLength
	}
	if out.ContentRange != nil {
		contentRange = *out.ContentRange
	}
	return readBody(out.Body, contentRange, bodyBytes, offset, length)
}

// List reads and drops what comes before after: Azure can't start anywhere else.
func (s *azureStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		pages := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
		for pages.More() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield("", meaning(err))
				return
			}
			if page.Segment == nil {
				continue
			}
			for _, item := range page.Segment.BlobItems {
				if item.Name != nil && *item.Name > after && !yield(*item.Name, nil) {
					return
				}
			}
		}
	}
}

func (s *azureStore) Delete(ctx context.Context, key string) error {
	_, err := s.client.NewBlobClient(key).Delete(ctx, nil)
	return meaning(err)
}

// Close ends the connections.
func (s *azureStore) Close() error {
	s.close()
	return nil
}
