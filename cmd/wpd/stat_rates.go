package main

import (
	"time"

	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// rates are what a node did between two looks at its counters, and what is now.
type rates struct {
	Time         time.Time `json:"time"`    // of the second look, by the node's clock
	Seconds      float64   `json:"seconds"` // between the two
	EntriesPerS  float64   `json:"appended_entries_per_s"`
	MBPerS       float64   `json:"appended_mb_per_s"`
	BatchesPerS  float64   `json:"appended_batches_per_s"`
	AckP50       uint64    `json:"ack_p50_us"` // 0: nothing was acknowledged
	AckP99       uint64    `json:"ack_p99_us"`
	AckMax       uint64    `json:"ack_max_us"`
	ReadMBPerS   float64   `json:"read_mb_per_s"`
	CreatesPerS  float64   `json:"creates_per_s"`
	CreateMBPerS float64   `json:"created_mb_per_s"`
	CacheHits    *float64  `json:"cache_hit_percent,omitempty"` // nil: nobody asked the cache
	InFlight     uint64    `json:"in_flight_bytes"`
	Appenders    uint64    `json:"append_streams"`
	Readers      uint64    `json:"read_streams"`
	CPU          float64   `json:"cpu_percent"` // of one processor
	RSS          uint64    `json:"rss_bytes"`
}

// ratesOf compares two looks. Those at a node that has started anew meanwhile
// count from its start.
func ratesOf(from, to *adminv1.Stats) rates {
	took := max(float64(to.GetNowMicros()-from.GetNowMicros())/1e6, 1e-6)
	rose := func(counter func(*adminv1.Stats) uint64) float64 {
		before, now := counter(from), counter(to)
		if now < before {
			before = 0
		}
		return float64(now - before)
	}
	perS := func(counter func(*adminv1.Stats) uint64, unit float64) float64 {
		return round(rose(counter) / unit / took)
	}
	r := rates{
		Time: time.UnixMicro(to.GetNowMicros()).UTC(), Seconds: round(took),
		EntriesPerS:  perS((*adminv1.Stats).GetAppendedEntries, 1),
		MBPerS:       perS((*adminv1.Stats).GetAppendedBytes, 1e6),
		BatchesPerS:  perS((*adminv1.Stats).GetAppendedBatches, 1),
		ReadMBPerS:   perS((*adminv1.Stats).GetReadBytes, 1e6),
		CreatesPerS:  perS((*adminv1.Stats).GetCreates, 1),
		CreateMBPerS: perS((*adminv1.Stats).GetCreatedBytes, 1e6),
		CPU:          perS((*adminv1.Stats).GetCpuMicros, 1e4),
		AckP50:       to.GetAckP50Micros(), AckP99: to.GetAckP99Micros(), AckMax: to.GetAckMaxMicros(),
		InFlight: to.GetInFlightBytes(), Appenders: to.GetAppendStreams(), Readers: to.GetReadStreams(), RSS: to.GetRssBytes(),
	}
	hits, misses := rose((*adminv1.Stats).GetCacheHits), rose((*adminv1.Stats).GetCacheMisses)
	if hits+misses > 0 {
		percent := round(100 * hits / (hits + misses))
		r.CacheHits = &percent
	}
	return r
}
