package rpc

import (
	"fmt"
	"math"
	"time"

	"github.com/wpd-io/wpd/fragment"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// The conversions between the terms of wal/api and messages: XTo makes the
// message, XFrom reads it. A message that is not there reads as the zero
// value.

func ConfigTo(c api.LogConfig) *logv1.LogConfig {
	return &logv1.LogConfig{EntryBytesMax: c.EntryBytesMax, Dedicated: c.Dedicated, Zone: c.Zone}
}

func ConfigFrom(m *logv1.LogConfig) api.LogConfig {
	return api.LogConfig{EntryBytesMax: m.GetEntryBytesMax(), Dedicated: m.GetDedicated(), Zone: m.GetZone()}
}

func LogTo(l api.LogInfo) *logv1.Log {
	m := &logv1.Log{
		Name: l.Name, Id: uint64(l.ID), Config: ConfigTo(l.Config), ConfigVersion: l.ConfigVersion,
		Generation: uint64(l.Generation), CreatedMicros: microsTo(l.Created),
		FirstLsn: uint64(l.First), TailLsn: uint64(l.Tail), Bytes: l.Bytes, TrimmedBytes: l.TrimmedBytes,
		Writer: l.Writer, ChainEpoch: uint64(l.Epoch),
	}
	for _, x := range l.Extents {
		m.Extents = append(m.Extents, &logv1.Extent{
			ChainEpoch: uint64(x.Chain), Attachment: uint64(x.Attachment), FromLsn: uint64(x.From), ToLsn: uint64(x.To),
		})
	}
	return m
}

func LogFrom(m *logv1.Log) api.LogInfo {
	l := api.LogInfo{
		Name: m.GetName(), ID: fragment.LogID(m.GetId()), Config: ConfigFrom(m.GetConfig()), ConfigVersion: m.GetConfigVersion(),
		Generation: fragment.Generation(m.GetGeneration()), Created: microsFrom(m.GetCreatedMicros()),
		First: fragment.LSN(m.GetFirstLsn()), Tail: fragment.LSN(m.GetTailLsn()), Bytes: m.GetBytes(), TrimmedBytes: m.GetTrimmedBytes(),
		Writer: m.GetWriter(), Epoch: fragment.Epoch(m.GetChainEpoch()),
	}
	for _, x := range m.GetExtents() {
		l.Extents = append(l.Extents, api.Extent{
			Chain: fragment.Epoch(x.GetChainEpoch()), Attachment: fragment.Attachment(x.GetAttachment()),
			From: fragment.LSN(x.GetFromLsn()), To: fragment.LSN(x.GetToLsn()),
		})
	}
	return l
}

func ProducerTo(p api.ProducerInfo) *logv1.Producer {
	return &logv1.Producer{
		Name: p.Name, Id: uint64(p.ID), Epoch: uint64(p.Epoch), LastSequence: p.Last, LastLsn: uint64(p.LastLSN), TimeMicros: microsTo(p.Time),
	}
}

func ProducerFrom(m *logv1.Producer) api.ProducerInfo {
	return api.ProducerInfo{
		Name: m.GetName(), ID: fragment.ProducerID(m.GetId()), Epoch: fragment.ProducerEpoch(m.GetEpoch()),
		Last: m.GetLastSequence(), LastLSN: fragment.LSN(m.GetLastLsn()), Time: microsFrom(m.GetTimeMicros()),
	}
}

func LevelTo(l api.Level) *logv1.Level {
	if l == (api.Level{}) {
		return nil
	}
	return &logv1.Level{AtLeastLsn: uint64(l.AtLeast), Linearizable: l.Linearizable, MaxLagMicros: durationTo(l.MaxLag)}
}

func LevelFrom(m *logv1.Level) api.Level {
	return api.Level{AtLeast: fragment.LSN(m.GetAtLeastLsn()), Linearizable: m.GetLinearizable(), MaxLag: DurationFrom(m.GetMaxLagMicros())}
}

func OpenTo(r api.OpenRequest) *logv1.OpenProducerRequest {
	return &logv1.OpenProducerRequest{
		LogId: uint64(r.Log), Name: r.Name, ProducerId: uint64(r.ID), Epoch: uint64(r.Epoch), Exclusive: r.Exclusive, Generation: uint64(r.Generation),
	}
}

func OpenFrom(m *logv1.OpenProducerRequest) api.OpenRequest {
	return api.OpenRequest{
		Log: fragment.LogID(m.GetLogId()), Name: m.GetName(), ID: fragment.ProducerID(m.GetProducerId()),
		Epoch: fragment.ProducerEpoch(m.GetEpoch()), Exclusive: m.GetExclusive(), Generation: fragment.Generation(m.GetGeneration()),
	}
}

func OpenedTo(o api.Opened) *logv1.OpenProducerResponse {
	return &logv1.OpenProducerResponse{
		ProducerId: uint64(o.ID), Epoch: uint64(o.Epoch), LastSequence: o.Last, LastLsn: uint64(o.LastLSN),
		Generation: uint64(o.Generation), TailLsn: uint64(o.Tail), EntryBytesMax: o.EntryBytesMax,
	}
}

func OpenedFrom(m *logv1.OpenProducerResponse) api.Opened {
	return api.Opened{
		ID: fragment.ProducerID(m.GetProducerId()), Epoch: fragment.ProducerEpoch(m.GetEpoch()), Last: m.GetLastSequence(),
		LastLSN: fragment.LSN(m.GetLastLsn()), Generation: fragment.Generation(m.GetGeneration()),
		Tail: fragment.LSN(m.GetTailLsn()), EntryBytesMax: m.GetEntryBytesMax(),
	}
}

// froms pairs the positions; the first message value of a position is the one
// that is sent.
var froms = []struct {
	m logv1.ReadFrom
	a api.From
}{
	{logv1.ReadFrom_READ_FROM_EARLIEST, api.FromEarliest},
	{logv1.ReadFrom_READ_FROM_UNSPECIFIED, api.FromEarliest},
	{logv1.ReadFrom_READ_FROM_TAIL, api.FromTail},
	{logv1.ReadFrom_READ_FROM_LSN, api.FromLSN},
	{logv1.ReadFrom_READ_FROM_LAST, api.FromLast},
	{logv1.ReadFrom_READ_FROM_TIME, api.FromTime},
}

func ReadTo(r api.ReadRequest) *logv1.ReadRequest {
	m := &logv1.ReadRequest{
		LogId: uint64(r.Log), Value: r.Value, TimeMicros: int64(r.Time), ToLsn: uint64(r.To), UntilMicros: int64(r.Until),
		Limit: r.Limit, Follow: r.Follow, Level: LevelTo(r.Level),
	}
	for _, f := range froms {
		if f.a == r.From {
			m.From = f.m
			break
		}
	}
	return m
}

// ReadFrom refuses, with ErrInvalid, a position that it does not know and
// times before 1970.
func ReadFrom(m *logv1.ReadRequest) (api.ReadRequest, error) {
	if m.GetTimeMicros() < 0 || m.GetUntilMicros() < 0 {
		return api.ReadRequest{}, fmt.Errorf("%w: a time before 1970", api.ErrInvalid)
	}
	for _, f := range froms {
		if f.m == m.GetFrom() {
			return api.ReadRequest{
				Log: fragment.LogID(m.GetLogId()), From: f.a, Value: m.GetValue(), Time: fragment.Micros(m.GetTimeMicros()),
				To: fragment.LSN(m.GetToLsn()), Until: fragment.Micros(m.GetUntilMicros()),
				Limit: m.GetLimit(), Follow: m.GetFollow(), Level: LevelFrom(m.GetLevel()),
			}, nil
		}
	}
	return api.ReadRequest{}, fmt.Errorf("%w: unknown position %d to read from", api.ErrInvalid, m.GetFrom())
}

func microsTo(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func microsFrom(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func durationTo(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64(max(d.Microseconds(), 1)) // less than that is not "no bound"
}

// DurationFrom reads a time that a message has in microseconds.
func DurationFrom(us uint64) time.Duration {
	return time.Duration(min(us, math.MaxInt64/uint64(time.Microsecond))) * time.Microsecond
}
