package blobstore

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

func TestPartsReader(t *testing.T) {
	for _, parts := range [][][]byte{
		nil, {nil}, {nil, nil}, {[]byte("abc")}, {[]byte("ab"), nil, []byte("c"), []byte("defgh"), nil},
	} {
		want := bytes.Join(parts, nil)
		if err := iotest.TestReader(&partsReader{parts: parts, size: size(parts)}, want); err != nil {
			t.Errorf("%q: %v", parts, err)
		}
		r := &partsReader{parts: parts, size: size(parts)}
		for from := range int64(len(want) + 2) {
			if _, err := r.Seek(from, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			n, err := r.WriteTo(&got)
			if rest := want[min(from, int64(len(want))):]; err != nil || !bytes.Equal(got.Bytes(), rest) || n != int64(len(rest)) {
				t.Errorf("%q from %d: %q, %d, %v; want %q", parts, from, &got, n, err, rest)
			}
		}
	}
}

func TestEnds(t *testing.T) {
	whole := make([]byte, 200)
	for i := range whole {
		whole[i] = byte(i)
	}
	for n := range whole {
		for _, cut := range []int{0, 1, n / 2, n} {
			cut = min(cut, n)
			parts := [][]byte{whole[:cut], nil, whole[cut:n]}
			if got, want := head(parts), whole[:min(n, endBytes)]; !bytes.Equal(got, want) {
				t.Fatalf("head of %d cut at %d = %v", n, cut, got)
			}
			if got, want := tail(parts), whole[max(n-endBytes, 0):n]; !bytes.Equal(got, want) {
				t.Fatalf("tail of %d cut at %d = %v", n, cut, got)
			}
		}
	}
}

func TestBufferSize(t *testing.T) {
	for _, n := range []int64{0, 1, 5 << 20, 8 << 20, 8<<20 - 1, ObjectBytesMax} {
		if got := int64(bufferSize(n)); got <= n || got%bufferStep != 0 {
			t.Errorf("bufferSize(%d) = %d", n, got)
		}
	}
}
