package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCrowdFinish: followers that take too long are given up, and called late; what
// another one found first is told as it is.
func TestCrowdFinish(t *testing.T) {
	wrong := errors.New("another entry")
	for name, c := range map[string]struct {
		most time.Duration
		want error
		late bool
	}{
		"all are there": {time.Hour, nil, false},
		"late":          {time.Millisecond, context.Canceled, true},
		"wrong":         {time.Hour, wrong, false},
	} {
		t.Run(name, func(t *testing.T) {
			crowd := &crowd{noun: "reader"}
			ctx := crowd.begin(t.Context())
			crowd.g.Go(func() error { return nil })
			crowd.g.Go(func() error {
				if c.want == context.Canceled {
					<-ctx.Done()
					return ctx.Err()
				}
				return c.want
			})
			err := crowd.finish(c.most)
			require.ErrorIs(t, err, c.want)
			if c.late {
				require.ErrorContains(t, err, "not all readers had every entry 1ms after the last append")
				code, _ := classify(err)
				require.Equal(t, exitUnexpected, code, "nothing is lost")
			} else if err != nil {
				require.NotContains(t, err.Error(), "not all readers")
			}
			require.NoError(t, crowd.close())
		})
	}
}
