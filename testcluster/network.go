package testcluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"

	"google.golang.org/grpc/test/bufconn"
)

// errBroken is what the ends of a connection get once it is cut.
var errBroken = errors.New("testcluster: the connection was cut")

// wireBytes is what a connection holds in each direction.
const wireBytes = 64 << 10

// Network joins clients to a node, that of a World or whatever else serves at
// its listener, in memory, and cuts their connections at chosen bytes. Safe for
// concurrent use.
type Network struct {
	mu    sync.Mutex // guards what follows; never held while something is waited for
	node  *bufconn.Listener
	wires map[*wire]struct{}
	plan  func() Cut
	cuts  Cuts
}

// Cut says where a connection is cut: after so many bytes that its client has
// sent, or, with Answers, has got. What came before arrives. 0: never.
type Cut struct {
	Answers bool
	After   int
}

// Cuts counts the connections that were cut, by what they cut in two.
type Cuts struct {
	Appends int // a frame with batches, on its way to the node
	Acks    int // a frame with answers to batches, on its way back
	Others  int // anything else, or between two frames
}

// All is how many there were.
func (c Cuts) All() int { return c.Appends + c.Acks + c.Others }

// RandomCut draws a cut: rather on the way back than on the way to the node,
// where the frames are larger, and all orders of magnitude as likely.
func RandomCut(rnd *rand.Rand) Cut {
	return Cut{Answers: rnd.IntN(3) > 0, After: 1 + int(math.Exp(rnd.Float64()*math.Log(8000)))}
}

// Plan says where connections are cut: plan is called for each that is made
// from now on, one call at a time; nil: none is cut.
func (n *Network) Plan(plan func() Cut) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plan = plan
}

// Cuts returns what was cut so far.
func (n *Network) Cuts() Cuts {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts
}

// Listen makes the listener of the next node. The one before is gone.
func (n *Network) Listen() net.Listener {
	n.Unplug()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.node = bufconn.Listen(wireBytes)
	return n.node
}

// Break breaks all connections, also those that are not planned to be cut. New
// ones can be made.
func (n *Network) Break() {
	n.mu.Lock()
	wires := n.wires
	n.wires = nil
	n.mu.Unlock()
	for w := range wires {
		_ = w.Close()
	}
}

// Unplug breaks all connections. Until the next node opens, nobody answers.
func (n *Network) Unplug() {
	n.mu.Lock()
	l := n.node
	n.node = nil
	n.mu.Unlock()
	if l != nil {
		_ = l.Close() // it never fails
	}
	n.Break()
}

// networkAddr is the address of the node, whatever it is for.
const networkAddr = "testcluster:1"

// DialContext makes a connection to the node, to be cut as planned; see
// wpd.WithDialer.
func (n *Network) DialContext(ctx context.Context, _ string) (net.Conn, error) {
	var cut Cut
	n.mu.Lock()
	if n.plan != nil {
		cut = n.plan()
	}
	n.mu.Unlock()
	return n.dial(ctx, cut)
}

func (n *Network) dialWhole(ctx context.Context, _ string) (net.Conn, error) {
	return n.dial(ctx, Cut{})
}

func (n *Network) dial(ctx context.Context, cut Cut) (net.Conn, error) {
	n.mu.Lock()
	l := n.node
	n.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	c, err := l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, net: n, cut: cut, sent: frames{preface: len(prefaceHTTP2)}}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.node != l {
		_ = c.Close()
		return nil, syscall.ECONNRESET
	}
	if n.wires == nil {
		n.wires = make(map[*wire]struct{})
	}
	n.wires[w] = struct{}{}
	return w, nil
}

// wire is a client's end of a connection.
type wire struct {
	net.Conn
	net *Network
	cut Cut

	mu        sync.Mutex // guards what follows
	sent, got frames
	broken    bool
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	n, last := w.passLocked(&w.sent, b, !w.cut.Answers)
	w.mu.Unlock()
	m, err := w.Conn.Write(b[:n])
	if last {
		_ = w.Close()
		return m, errBroken
	}
	return m, err
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.mu.Lock()
	n, last := w.passLocked(&w.got, b[:n], w.cut.Answers)
	w.mu.Unlock()
	if last {
		_ = w.Close()
		err = errBroken
	}
	return n, err
}

// passLocked notes bytes that pass in one direction, and says how many do, and
// that they are the last.
func (w *wire) passLocked(f *frames, b []byte, here bool) (n int, last bool) {
	if w.broken {
		return 0, true
	}
	n = len(b)
	if left := w.cut.After - f.bytes; here && w.cut.After > 0 && n >= left {
		n, last = left, true
	}
	f.pass(b[:n])
	if last {
		w.broken = true
		_, batches := w.sent.going[f.stream]
		w.net.noteCut(w.cut.Answers, f.data && f.left > 0 && batches)
	}
	return n, last
}

func (n *Network) noteCut(answers, batches bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !batches:
		n.cuts.Others++
	case answers:
		n.cuts.Acks++
	default:
		n.cuts.Appends++
	}
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.net.mu.Lock()
	delete(w.net.wires, w)
	w.net.mu.Unlock()
	return w.Conn.Close()
}

const (
	prefaceHTTP2   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // what a client says first
	frameHeadBytes = 9
	frameData      = 0 // the type that carries messages
	flagEndStream  = 1
)

// frames follows the frames of HTTP/2 in one direction of a connection.
type frames struct {
	bytes   int // that passed
	preface int // bytes that come before the first frame
	head    [frameHeadBytes]byte
	have    int // bytes of head

	// The frame that is passing, once its head has.
	left   int // bytes of it that have not passed
	data   bool
	stream uint32

	// going are the streams that go on behind a message: of what a client
	// sends, those of batches.
	going map[uint32]struct{}
}

func (f *frames) pass(b []byte) {
	f.bytes += len(b)
	for len(b) > 0 {
		switch {
		case f.preface > 0:
			n := min(f.preface, len(b))
			f.preface, b = f.preface-n, b[n:]
		case f.left > 0:
			n := min(f.left, len(b))
			f.left, b = f.left-n, b[n:]
		default:
			n := copy(f.head[f.have:], b)
			if f.have, b = f.have+n, b[n:]; f.have == frameHeadBytes {
				f.begin()
			}
		}
	}
}

func (f *frames) begin() {
	h := f.head
	f.have = 0
	f.left = int(h[0])<<16 | int(h[1])<<8 | int(h[2])
	f.data = h[3] == frameData
	f.stream = uint32(h[5]&0x7f)<<24 | uint32(h[6])<<16 | uint32(h[7])<<8 | uint32(h[8])
	if f.data && h[4]&flagEndStream == 0 {
		if f.going == nil {
			f.going = make(map[uint32]struct{})
		}
		f.going[f.stream] = struct{}{}
	}
}

// String tells what was cut.
func (c Cuts) String() string {
	return fmt.Sprintf("%d in batches, %d in answers to them, %d elsewhere", c.Appends, c.Acks, c.Others)
}
