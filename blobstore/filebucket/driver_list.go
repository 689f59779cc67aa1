package filebucket

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"gocloud.dev/blob/driver"
)

// blobPageMax is how many objects a page has whose size the caller leaves open;
// S3 does the same.
const blobPageMax = 1000

// ListPaged lists in the order of [Bucket.List]. The page token is the last key,
// or "directory", of the page before. What List does not need is paid here: each
// page starts its directories anew, and each object is opened for its size.
func (d *blobDriver) ListPaged(ctx context.Context, opts *driver.ListOptions) (*driver.ListPage, error) {
	if opts.BeforeList != nil {
		if err := opts.BeforeList(noAs); err != nil {
			return nil, err
		}
	}
	size := opts.PageSize
	if size == 0 {
		size = blobPageMax
	}
	page, last := &driver.ListPage{}, string(opts.PageToken)
	for key, err := range d.b.List(ctx, opts.Prefix, last) {
		if err != nil {
			return nil, err
		}
		o := &driver.ListObject{Key: key}
		if dir, ok := cutAfter(key, opts.Prefix, opts.Delimiter); ok {
			if dir <= last { // listed already: its keys follow each other
				continue
			}
			o.Key, o.IsDir = dir, true
		}
		if len(page.Objects) == size {
			page.NextPageToken = []byte(last)
			return page, nil
		}
		if !o.IsDir {
			err := d.stat(ctx, o)
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted since it was listed
			}
			if err != nil {
				return nil, err
			}
		}
		page.Objects, last = append(page.Objects, o), o.Key
	}
	return page, nil
}

// cutAfter cuts a key behind the first delimiter after the prefix, if there is
// one: then it lies in a "directory".
func cutAfter(key, prefix, delimiter string) (dir string, ok bool) {
	if delimiter == "" {
		return "", false
	}
	i := strings.Index(key[len(prefix):], delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(prefix)+i+len(delimiter)], true
}

// stat fills in size and time of an object that List has made durable.
func (d *blobDriver) stat(ctx context.Context, o *driver.ListObject) error {
	f, info, err := d.b.openFile(ctx, o.Key)
	if err != nil {
		return err
	}
	o.Size, o.ModTime = info.Size, info.ModTime
	return f.Close()
}
