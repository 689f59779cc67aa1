// Package race lets several creates of one key, each with bytes of its own, race
// for it, and judges what came of it: a store on which two of them succeed can't
// be fenced.
package race

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
)

// HeadBytes is the longest head of a body: who sent it, and a newline. So many
// bytes from the beginning of an object tell whose it is.
const HeadBytes = 64

// Outcome is what a create was told.
type Outcome string

// The outcomes.
const (
	Won     Outcome = "won"     // no error
	Lost    Outcome = "lost"    // fs.ErrExist
	Unknown Outcome = "unknown" // any other error: it may have been stored, or not
)

// Claim is what one create says of itself.
type Claim struct {
	Who     string  `json:"who"` // as in the bytes it sent; at most HeadBytes-1, no newline
	Outcome Outcome `json:"outcome"`
	Err     string  `json:"err,omitempty"` // of an unknown outcome
}

// Create is that of a blobstore.Raw: one attempt.
type Create func(ctx context.Context, key string, parts [][]byte) error

// Run sends n creates of one key at the same time, of size bytes each, at least
// HeadBytes. They are told apart by name, which no other process of the race may
// have, and a number. It returns when all have an answer, or ctx has ended.
func Run(ctx context.Context, create Create, key, name string, n, size int) []Claim {
	claims := make([]Claim, n)
	start := make(chan struct{})
	filler := make([]byte, max(size-HeadBytes, 0)) // only read
	var wg sync.WaitGroup
	for i := range claims {
		c := &claims[i]
		c.Who = name + "." + strconv.Itoa(i)
		head := make([]byte, HeadBytes)
		copy(head, c.Who+"\n")
		wg.Go(func() {
			<-start
			err := create(ctx, key, [][]byte{head, filler})
			switch {
			case err == nil:
				c.Outcome = Won
			case errors.Is(err, fs.ErrExist):
				c.Outcome = Lost
			default:
				c.Outcome, c.Err = Unknown, err.Error()
			}
		})
	}
	close(start)
	wg.Wait()
	return claims
}

// Owner says from the first bytes of an object whose it is.
func Owner(head []byte) string {
	who, _, _ := bytes.Cut(head, []byte("\n"))
	return string(who)
}

// namedMax is how many winners are named: two are too many.
const namedMax = 3

// Judge says what is wrong with a race; "" if nothing is. there is the owner of
// what can be read afterwards, "" if nothing can. Whoever was told that it lost
// may be the owner all the same: something on the way may have sent its create
// twice. That is safe, and [blobstore.Bucket.Create] finds out.
func Judge(claims []Claim, there string) string {
	var winners []string
	known := false
	unknown := 0
	for _, c := range claims {
		known = known || c.Who == there
		switch c.Outcome {
		case Won:
			winners = append(winners, c.Who)
		case Unknown:
			unknown++
		}
	}
	switch {
	case len(winners) > 1:
		some, more := winners[:min(len(winners), namedMax)], ""
		if len(some) < len(winners) {
			more = ", …"
		}
		return fmt.Sprintf("%d of %d creates of one key succeeded: %s%s", len(winners), len(claims), strings.Join(some, ", "), more)
	case there == "" && len(winners) == 1:
		return fmt.Sprintf("the create of %s succeeded, and nothing can be read there", winners[0])
	case there == "" && unknown == 0:
		return fmt.Sprintf("%d creates of one key were refused because an object is there, and nothing can be read there", len(claims))
	case there == "":
		return "" // none may have been stored
	case !known:
		return fmt.Sprintf("there are bytes that nobody sent, by %q", there)
	case len(winners) == 1 && winners[0] != there:
		return fmt.Sprintf("the create of %s succeeded, and what can be read is that of %s", winners[0], there)
	}
	return ""
}

// Decided says whether a race shows anything: two creates or more were
// answered, and one of them was stored.
func Decided(claims []Claim, there string) bool {
	answered := 0
	for _, c := range claims {
		if c.Outcome != Unknown {
			answered++
		}
	}
	return answered > 1 && there != ""
}
