package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

// A feed is made of messages, and each of one frame or several: a byte that
// says which message it is, a byte of flags, and a part of its body. Bodies are
// numbers (varints), and objects as they would be stored. Feeds are between
// nodes and reach no disk, so their version is that of the whole feed.
const (
	feedVersion = 1
	// FeedFrameMax bounds a frame, in bytes.
	FeedFrameMax = 1 << 20

	frameHead = 2
	frameMore = 1 // flag: the message goes on with the next frame
)

// The messages, in the order in which they come: one opening, parts, one ready,
// then the others as it happens. Each starts with its time, in microseconds
// since the writer opened the chain.
const (
	feedOpening  = 1 // version, epoch, where the open part starts, number of cuts, cuts
	feedPart     = 2 // an index object: of what is in no cut, some rows and states
	feedReady    = 3 // number of the last durable object
	feedFragment = 4 // a fragment without its slices
	feedCut      = 5 // a cut
	feedAlive    = 6 // number of the last durable object
)

// frames splits a message. The frames of a small one share its bytes.
func frames(kind byte, body []byte) [][]byte {
	var all [][]byte
	for {
		n := min(len(body), FeedFrameMax-frameHead)
		flags := byte(0)
		if n < len(body) {
			flags = frameMore
		}
		all = append(all, append([]byte{kind, flags}, body[:n]...))
		if body = body[n:]; len(body) == 0 {
			return all
		}
	}
}

func appendNumbers(dst []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func appendCut(dst []byte, c Cut) []byte {
	return binary.BigEndian.AppendUint32(appendNumbers(dst, c.To, c.Index.Size), c.Index.Checksum)
}

func openingMessage(at uint64, e fragment.Epoch, cuts []Cut) [][]byte {
	body := appendNumbers(nil, at, feedVersion, uint64(e), uint64(len(cuts)))
	for _, c := range cuts {
		body = appendCut(body, c)
	}
	return frames(feedOpening, body)
}

func partMessage(at uint64, c Chain, x *fragment.Index) [][]byte {
	o := fragment.Encode(fragment.Head{Kind: fragment.KindIndex, Epoch: c.Epoch, N: x.To, Cluster: c.Cluster}, &fragment.Directory{Index: x})
	return frames(feedPart, append(appendNumbers(nil, at), bytes.Join(o.Parts, nil)...))
}

// fragmentMessage leaves out the slices: header, directory and footer prove by
// their checksums that they belong together.
func fragmentMessage(at uint64, f *fragment.Frozen) [][]byte {
	head, tail := f.Parts[0], f.Parts[len(f.Parts)-1]
	return frames(feedFragment, append(append(appendNumbers(nil, at), head...), tail...))
}

// feedBody reads numbers off a message. The first error sticks.
type feedBody struct {
	b   []byte
	err error
}

func (b *feedBody) number() uint64 {
	n, used := binary.Uvarint(b.b)
	if used <= 0 {
		b.fail("a number is cut off")
		return 0
	}
	b.b = b.b[used:]
	return n
}

func (b *feedBody) fail(format string, args ...any) {
	if b.err == nil {
		b.err, b.b = fmt.Errorf(format, args...), nil
	}
}

// cut reads the cut that begins at from.
func (b *feedBody) cut(e fragment.Epoch, from uint64) Cut {
	c := Cut{From: from, To: b.number(), Index: Ref{Size: b.number()}}
	if len(b.b) < 4 {
		b.fail("a checksum is cut off")
		return Cut{}
	}
	c.Index.Checksum, b.b = binary.BigEndian.Uint32(b.b), b.b[4:]
	if c.To <= from || c.Index.Size > fragment.ObjectBytesMax {
		b.fail("cut [%d, %d) with an index of %d bytes", from, c.To, c.Index.Size)
	}
	c.Index.Key = fragment.IndexKey(e, from, c.To, c.Index.Checksum)
	return c
}

// end complains about what is left over.
func (b *feedBody) end() error {
	if len(b.b) > 0 {
		b.fail("%d bytes are left over", len(b.b))
	}
	return b.err
}
