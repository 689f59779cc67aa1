package blobstore

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStoreClock: many answers tell the time better than one, and a clock that is
// set begins anew.
func TestStoreClock(t *testing.T) {
	var c storeClock
	_, _, ok := c.offset()
	require.False(t, ok)
	c.saw(http.Header{}, time.Unix(1, 0), time.Unix(2, 0))
	_, _, ok = c.offset()
	require.False(t, ok, "an answer without a date")

	at := time.Unix(1_000_000, 0).UTC()
	const ahead, took = 2300 * time.Millisecond, 10 * time.Millisecond
	answer := func(sent time.Time, ahead time.Duration) {
		date := sent.Add(took / 2).Add(ahead)
		c.saw(http.Header{"Date": {date.Format(http.TimeFormat)}}, sent, sent.Add(took))
	}
	answer(at, ahead)
	least, most, ok := c.offset()
	require.True(t, ok)
	require.Equal(t, dateSlack+took, most-least)
	for i := range 50 {
		answer(at.Add(time.Duration(i)*137*time.Millisecond), ahead)
		least, most, _ = c.offset()
		require.LessOrEqual(t, least, ahead)
		require.GreaterOrEqual(t, most, ahead)
	}
	require.Less(t, most-least, dateSlack-time.Second+100*time.Millisecond)

	answer(at, -time.Hour)
	least, most, _ = c.offset()
	require.LessOrEqual(t, least, -time.Hour)
	require.GreaterOrEqual(t, most, -time.Hour)
}
