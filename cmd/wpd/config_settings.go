package main

import (
	"log/slog"
	"strings"
	"time"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/node"
)

// settings are all that a server can be told. Flags, environment, files, their
// checks, wpd config show and docs/configuration.md are made from rooms.
type settings struct {
	node      node.Config
	logLevel  string
	logFormat string

	rooms []room
	from  map[string]origin // by key; what is not in it has its default
}

// room is what belongs to one part of a server.
type room struct {
	name, about string
	knobs       []*knob
}

// knob is one setting.
type knob struct {
	key   string // in a file; see flag and env for its other names
	value value
	unset string // the default, where it follows from something else
	what  string // what it does, and what a zero means
	show  func(string) string
	def   string // the default
}

func (k *knob) flag() string { return strings.ReplaceAll(k.key, "_", "-") }
func (k *knob) env() string  { return envPrefix + strings.ToUpper(k.key) }

// shown is the value as it may be shown.
func (k *knob) shown() string {
	if k.show != nil {
		return k.show(k.value.String())
	}
	return k.value.String()
}

const (
	// unsafeKey is a setting that nobody takes for harmless.
	unsafeKey  = "unsafe_bucket_i_accept_data_loss"
	unsafeFlag = "--unsafe-bucket-i-accept-data-loss"

	httpAddrDefault = "127.0.0.1:7073"
	giB             = 1 << 30
)

// newSettings returns settings that have their defaults.
func newSettings() *settings {
	s := &settings{logLevel: "info", logFormat: "text", from: make(map[string]origin)}
	n := &s.node
	n.Listen, n.HTTPListen = addrDefault, httpAddrDefault
	n.RequestTimeout, n.CloseTimeout = 15*time.Second, 30*time.Second
	n.Log = n.Log.WithDefaults()
	n.Log.BufferBytes = 0 // until the others are known
	n.Limits = n.Limits.WithDefaults()
	s.rooms = []room{s.nodeRoom(), s.listenRoom(), s.clusterRoom(), s.logRoom(), s.writeRoom(), s.readRoom(), s.clientRoom()}
	for _, r := range s.rooms {
		for _, k := range r.knobs {
			k.def = k.value.String()
		}
	}
	return s
}

func (s *settings) nodeRoom() room {
	n := &s.node
	return room{"The node", "Who it is, where its logs are, and for how long it waits.", []*knob{
		{key: "node_id", value: nodeName(&n.Name), unset: "that of the data directory; n1 for a new one", what: "The node's name. A data directory keeps the name that it was made with, and refuses another."},
		{key: "data_dir", value: text(&n.DataDir, "dir", "a directory; it is made if it is not there"), what: "The node's own state: a few MB, no entries. It belongs to one node and one bucket, and must not be copied. Required, but for `mem://`."},
		{key: "min_free", value: sizeOrDefault(&n.MinFree, 1, 1024*giB), unset: "256MiB", what: "Bytes that must be free on the disk of data_dir. With fewer, the node refuses appends, gets no logs, hands over what it writes and its part as the leader, and says so, until there is room. 0: the default."},
		{key: "bucket", value: text(&n.Bucket, "URL", "file:///abs/path, s3://NAME, gs://NAME, azblob://NAME, mem://"), show: blobstore.Redact,
			what: "Where the entries are. `?prefix=a/b/` puts everything below a prefix; the other parameters are those of gocloud.dev/blob. Required. Better in the environment or a file than a flag if it holds secrets: other users see flags."},
		{key: "request_timeout", value: duration(&n.RequestTimeout, 100*time.Millisecond, 10*time.Minute), what: "Time for one request to the bucket, after which it is tried again. Repeated creates get up to four times that."},
		{key: "hedge_percent", value: count(&n.HedgePercent, 0, 100), what: "Of a hundred objects, how many may be sent to the bucket a second time because the first request takes longer than 95 % of the recent ones. It shortens the rare long waits, and costs as many more requests. 0: none."},
		{key: "close_timeout", value: duration(&n.CloseTimeout, 100*time.Millisecond, time.Hour), what: "Time for a stop in good order after SIGTERM: answer what was taken, flush, seal. What is not done by then, the next start does."},
		{key: unsafeKey, value: boolValue{&n.UnsafeBucket}, what: "Work on a bucket although a check at the start has found that it breaks a promise that wpd rests on (`wpd doctor`). Without it such a bucket is refused; with it every start warns, and entries that were acknowledged will be lost."},
		{key: "allow_bench", value: boolValue{&n.AllowBench}, what: "Let clients (`wpd bench --addr`) measure the bucket itself, under `scratch/`: that costs requests, room and time."},
	}}
}

func (s *settings) listenRoom() room {
	n := &s.node
	return room{"Listeners", "There is no TLS yet: whoever reaches a listener can read and write everything.", []*knob{
		{key: "listen", value: address(&n.Listen, false), what: "gRPC: for `wpd.Dial` and for wpd's command line (`--addr`)."},
		{key: "http_listen", value: address(&n.HTTPListen, true), what: "HTTP: `/metrics`, `/healthz`, `/readyz`, `/loglevel`, `/debug/pprof/`."},
		{key: "insecure", value: boolValue{&n.Insecure}, what: "Allow listeners on other addresses than the loopback's. Without it they are refused, with it every start warns."},
	}}
}

func (s *settings) logRoom() room {
	return room{"What the process logs", "On stderr.", []*knob{
		{key: "log_level", value: choice(&s.logLevel, "debug", "info", "warn", "error"), what: "The least that is logged. `PUT /loglevel` changes it while the node runs."},
		{key: "log_format", value: choice(&s.logFormat, "text", "json"), what: "text is for people, json for collectors."},
	}}
}

func (s *settings) writeRoom() room {
	w := &s.node.Log
	return room{"Writing", "How entries become objects.", []*knob{
		{key: "window", value: count(&w.Window, 1, 64), what: "Fragments in flight at once (W). Throughput is at most window × fragment_size ÷ the time of one create."},
		{key: "fragment_size", value: size(&w.FragmentBytes, 64<<10, fragment.FragmentBytes), what: "Size at which a fragment is full and is sent."},
		{key: "flush_interval", value: duration(&w.FlushInterval, 0, 10*time.Minute), what: "A fragment that is not full is sent only when this has passed since the last: fewer requests, later acknowledgements. 0: as soon as it pays."},
		{key: "buffer", value: sizeOrDefault(&w.BufferBytes, 3*fragment.FragmentBytes, 64*giB), unset: "(window + 4) × fragment_size, at least 24MiB", what: "Bytes taken and not durable yet, beyond which appends wait. 0: what follows from window and fragment_size."},
		{key: "cut_size", value: size(&w.CutBytes, 1<<20, 1024*giB), what: "Bytes after which a segment is cut: its index becomes an object of its own."},
		{key: "cut_age", value: duration(&w.CutAge, time.Second, 24*time.Hour), what: "Time after which a segment is cut. The next start after a crash has to look at what is not cut."},
		{key: "cut_fragments", value: count(&w.CutFragments, 1, 1<<20), what: "Fragments after which a segment is cut."},
		{key: "chains_max", value: count(&w.ChainsMax, 1, 4096), what: "Logs with a chain of their own (`wpd log create --dedicated`) that this node writes at a time; a further one is refused. Each may have a window of fragments in flight."},
		{key: "chain_idle", value: duration(&w.ChainIdle, time.Second, 365*24*time.Hour), what: "Time without an append after which such a log gives its chain back, until it is used again."},
		{key: "named_producers_max", value: count(&w.NamedProducersMax, 1, 1<<20), what: "Named producers of one log; they are never dropped, and a new one beyond it is refused."},
		{key: "anonymous_producers_max", value: count(&w.AnonymousProducersMax, 1, 1<<20), what: "Other producers of one log; each is dropped when idle for 10 minutes."},
	}}
}

func (s *settings) readRoom() room {
	w := &s.node.Log
	return room{"Reading", "What is kept in memory for readers.", []*knob{
		{key: "cache", value: sizeOrNone(&w.CacheBytes, 1<<20, 1024*giB), what: "Bytes of fragments kept in memory. Readers near the tail cost no request as long as it holds what was just written. 0: no cache."},
		{key: "scrub_rate", value: sizeOrNone(&w.ScrubBytesPerSec, 64<<10, 64*giB), what: "Bytes a second that the node reads of the bucket to find what is damaged or missing before a reader does; a request counts as 256 KiB. At 8MiB, 1 TB takes a day and a half. 0: no scrub."},
		{key: "scrub_interval", value: duration(&w.ScrubInterval, time.Second, 365*24*time.Hour), what: "Time from the beginning of one pass of the scrub to that of the next, at least."},
		{key: "prefetch", value: size(&w.PrefetchBytes, 64<<10, 64*giB), what: "Bytes fetched ahead for one reader."},
		{key: "prefetch_total", value: size(&w.PrefetchNodeBytes, 64<<10, 1024*giB), what: "Bytes fetched ahead for all readers together; beyond it, each gets only what it needs next."},
	}}
}

func (s *settings) clientRoom() room {
	c := &s.node.Limits
	return room{"Clients", "What the gRPC listener grants them. The defaults bear rude ones.", []*knob{
		{key: "connections_max", value: count(&c.Connections, 1, 1<<20), what: "Connections of clients; what comes beyond is closed at once, or, if it says nothing, within a second."},
		{key: "peer_connections_max", value: count(&c.PeerConnections, 1, 1<<20), what: "Connections of other nodes; those of clients never take their room."},
		{key: "peer_calls_max", value: count(&c.PeerCalls, 1, 1<<20), what: "Calls at a time of other nodes."},
		{key: "streams_max", value: count(&c.Streams, 1, 1<<20), what: "Calls at a time of one connection."},
		{key: "calls_max", value: count(&c.Calls, 1, 1<<20), what: "Calls at a time of all connections, but for eight of each."},
		{key: "waiting_calls_max", value: count(&c.WaitingCalls, 1, 1<<20), what: "Calls at a time whose request has not come yet, counted likewise."},
		{key: "crowd_rate", value: count(&c.CrowdRate, 1, 1<<30), what: "Calls a second that begin, on all connections together, though they are refused, or of connections with 16 that have not sent anything yet. Others don't wait for them."},
		{key: "resets_max", value: count(&c.Resets, 1, 1<<30), what: "Calls that a connection may take back within ten seconds before it is closed."},
		{key: "batches_max", value: count(&c.Batches, 1, 1<<20), what: "Batches of one client that are taken and not answered; beyond it, the client waits."},
		{key: "receive_buffer", value: size(&c.ReceiveBytes, 12<<20, 64*giB), what: "Bytes of batches that are half received, of all clients; beyond it, they wait."},
		{key: "slow_reader_buffer", value: size(&c.SlowBytes, 1<<20, 64*giB), what: "Bytes kept for readers that do not read, so that they need not be fetched again."},
		{key: "handshake_timeout", value: duration(&c.HandshakeTimeout, 100*time.Millisecond, time.Hour), what: "Time until a connection must speak HTTP/2."},
		{key: "stall_timeout", value: duration(&c.StallTimeout, 100*time.Millisecond, time.Hour), what: "Time for which a call, or a batch, may be half received."},
		{key: "idle_timeout", value: duration(&c.IdleTimeout, time.Second, 24*time.Hour), what: "Time after which a connection without calls is closed; clients connect anew."},
	}}
}

func nodeName(p *string) value {
	return &textValue{p: p, kind: "name", wants: "1 to 200 of A-Z a-z 0-9 . _ -", check: func(s string) bool {
		return len(s) >= 1 && len(s) <= 200 && strings.Trim(s, nameLetters) == ""
	}}
}

// nameLetters are those of names of nodes and zones.
const nameLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// all yields every knob.
func (s *settings) all(yield func(*knob) bool) {
	for _, r := range s.rooms {
		for _, k := range r.knobs {
			if !yield(k) {
				return
			}
		}
	}
}

// derive fills in what follows from other settings.
func (s *settings) derive() { s.node.Log = s.node.Log.WithDefaults() }

// config is what a node is opened with, but for what the process adds.
func (s *settings) config() node.Config {
	c := s.node
	if c.HTTPListen == noneWord {
		c.HTTPListen = ""
	}
	c.Cluster = s.cluster()
	c.Settings = s.effective()
	return c
}

// effective returns every setting, where it came from, and no secret.
func (s *settings) effective() []node.Setting {
	var all []node.Setting
	for k := range s.all {
		all = append(all, node.Setting{Key: k.key, Value: k.shown(), Source: s.source(k).kind})
	}
	return all
}

func (s *settings) source(k *knob) origin {
	if o, ok := s.from[k.key]; ok {
		return o
	}
	return origin{kind: sourceDefault}
}

// level is what log_level says.
func (s *settings) level() *slog.LevelVar {
	var v slog.LevelVar
	l, _ := node.ParseLevel(s.logLevel) // a choice
	v.Set(l)
	return &v
}
