package segment

import (
	"bytes"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

// SumCheck holds the sums that every 64th fragment carries against the
// directories of the fragments themselves. The zero value is ready.
type SumCheck struct {
	sum *tally // of the objects since the last 64th; nil if one of them is damaged
}

// Next takes in the object of a chain that comes next. The error says how its
// sum differs from what was seen; a sum over objects of which one could not be
// read is not judged.
func (c *SumCheck) Next(x *Scanned) error {
	n := x.N
	if n%fragment.SumEvery == 1 {
		c.sum = newTally(n)
	}
	if x.Directory == nil || x.Kind != fragment.KindFragment {
		c.sum = nil
		return nil
	}
	if c.sum != nil {
		c.sum.add(n, x.Directory)
	}
	have := x.Directory.Index
	switch {
	case n%fragment.SumEvery != 0 && have != nil:
		return fmt.Errorf("has a sum of objects [%d, %d), only every %dth has one", have.From, have.To, fragment.SumEvery)
	case n%fragment.SumEvery != 0 || c.sum == nil:
		return nil
	case have == nil:
		return fmt.Errorf("has no sum, every %dth has one", fragment.SumEvery)
	}
	want := c.sum.index()
	c.sum = nil
	if !bytes.Equal(encodedIndex(have), encodedIndex(want)) {
		return fmt.Errorf("its sum of objects [%d, %d) is not what they say", want.From, want.To)
	}
	return nil
}

// encodedIndex is an index in the one form that it has.
func encodedIndex(x *fragment.Index) []byte {
	return bytes.Join(fragment.Encode(fragment.Head{}, &fragment.Directory{Index: x}).Parts, nil)
}
