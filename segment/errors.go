package segment

import (
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

var (
	// ErrSealed: the chain is over. What waited is stored if the committed
	// seal counts it, and not otherwise; the same batch, sent to whoever
	// writes the log now, is answered either way.
	ErrSealed = errors.New("chain is sealed")
	// ErrClosed: the writer, or the reader, was closed.
	ErrClosed = errors.New("closed")
)

// ForeignError: an object stands where only this chain's writer may put one.
// Either two nodes write under one epoch, or somebody else writes to the
// bucket. The chain stops at once.
type ForeignError struct {
	Key   string
	Found string
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s holds %s: somebody else writes to this bucket under our chain epoch; "+
		"stop all nodes and run 'wpd verify'", e.Key, e.Found)
}

// LostError: the store lost what stood for these LSNs.
type LostError struct {
	Object string
	Epoch  fragment.Epoch
	N      uint64
}

func (e *LostError) Error() string {
	return fmt.Sprintf("fragment %d of chain %d is lost; a gap or damaged object stands at %s", e.N, uint64(e.Epoch), e.Object)
}
