package blobstore

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// httpRange is the header that asks for a range. Of an empty one it asks for a
// byte, because HTTP has no empty range; and to the end where there can't be
// more, because offset + length could overflow.
func httpRange(offset, length int64) (string, error) {
	switch {
	case offset < 0 || length < 0:
		return "", fmt.Errorf("negative range: offset %d, length %d", offset, length)
	case length > ObjectBytesMax:
		return fmt.Sprintf("bytes=%d-", offset), nil
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+max(length, 1)-1), nil
}

// readBody reads the part of an object that was asked for, and closes the body.
// contentLength is of the body, -1 if the store does not say. Memory is taken
// once, and only for what is there: size may be a lie.
func readBody(body io.ReadCloser, contentRange string, contentLength, offset, length int64) ([]byte, int64, error) {
	defer body.Close() // of what was only read
	if offset > 0 && contentRange == fmt.Sprintf("bytes %d-%d/%d", offset, offset-1, offset) {
		return []byte{}, offset, nil // Azurite, at the end; others refuse that
	}
	size := contentLength
	switch total, ok := strings.CutPrefix(contentRange, fmt.Sprintf("bytes %d-", offset)); {
	case ok:
		_, total, _ = strings.Cut(total, "/")
		var err error
		if size, err = strconv.ParseInt(total, 10, 64); err != nil || size <= offset && contentLength > 0 {
			size = -1
		}
	case contentRange != "", offset > 0:
		size = -1
	}
	if size < 0 {
		return nil, 0, fmt.Errorf("the store answers a range from %d on with Content-Range %q, want bytes %d-LAST/SIZE",
			offset, contentRange, offset)
	}
	want := max(min(length, size-offset), 0)
	if contentLength < 0 {
		data, err := io.ReadAll(io.LimitReader(body, want))
		return data, size, err
	}
	if want > contentLength {
		return nil, 0, fmt.Errorf("%d bytes of %d at %d: %w", contentLength, want, offset, ErrShort)
	}
	data := make([]byte, want)
	if n, err := io.ReadFull(body, data); err != nil {
		return nil, 0, fmt.Errorf("%d bytes of %d: %w", n, want, err)
	}
	return data, size, nil
}

// pastEnd tells a range past the end, which stores refuse, from other failures.
// Of an object that lies before the offset there is nothing to read, and that is
// no error. size asks for an object's size where the refusal does not tell it.
func pastEnd(err error, offset int64, size func() (int64, error)) ([]byte, int64, error) {
	a, ok := answerOf(err)
	if !ok || a.status != http.StatusRequestedRangeNotSatisfiable {
		return nil, 0, meaning(err)
	}
	n, perr := strconv.ParseInt(strings.TrimPrefix(a.header.Get("Content-Range"), "bytes */"), 10, 64)
	if perr != nil {
		if n, perr = size(); perr != nil {
			return nil, 0, fmt.Errorf("%w; and its size: %w", err, meaning(perr))
		}
	}
	if offset < n {
		return nil, 0, fmt.Errorf("the store refuses a range from %d on of %d bytes: %w", offset, n, err)
	}
	return []byte{}, n, nil
}
