package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one server.
type metrics struct {
	registerer prometheus.Registerer // nil: not exported
	all        []prometheus.Collector

	calls          *prometheus.CounterVec // by method and code
	running        prometheus.Gauge
	appends        prometheus.Gauge
	reads          prometheus.Gauge
	received       prometheus.Counter
	sent           prometheus.Counter
	receiving      prometheus.Gauge
	stalledReads   prometheus.Counter
	connections    prometheus.Gauge
	refused        prometheus.Counter
	handshakes     prometheus.Counter
	refusedBatches prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{}
	counter := func(name, help string) prometheus.Counter {
		return add(m, prometheus.NewCounter(prometheus.CounterOpts{Name: "wpd_rpc_" + name, Help: help}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return add(m, prometheus.NewGauge(prometheus.GaugeOpts{Name: "wpd_rpc_" + name, Help: help}))
	}
	m.calls = add(m, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wpd_rpc_calls_total", Help: "Calls that ended, by method and gRPC code. Internal ones are bugs, or a disk that fails.",
	}, []string{"method", "code"}))
	m.running = gauge("calls", "Calls in progress, streams included; at its limit, calls are refused.")
	m.appends = gauge("append_streams", "Append streams: about one for each client.")
	m.reads = gauge("read_streams", "Read streams, followers included.")
	m.received = counter("received_bytes_total", "Bytes received on connections.")
	m.sent = counter("sent_bytes_total", "Bytes sent on connections.")
	m.receiving = gauge("receiving_bytes", "Bytes of batches that are being received and not handed on; at its limit, appenders wait.")
	m.refusedBatches = counter("refused_batches_total", "Batches of Append streams that were answered with an error.")
	m.stalledReads = counter("stalled_reads_total", "Times that a reader did not read for a second, and gave up what was fetched for it.")
	m.connections = gauge("connections", "Connections: those of clients, those of nodes, and those that have yet to say whose they are while clients have all of theirs.")
	m.refused = counter("refused_connections_total", "Connections that were not let in, since there were too many: at once, or after a second of silence. A rise is a client that leaks them, or a limit that is too low.")
	m.handshakes = counter("failed_handshakes_total", "Connections that never spoke HTTP/2: probes, or clients of something else. While clients have all that there are for them, such count as refused.")
	return m
}

func add[C prometheus.Collector](m *metrics, c C) C {
	m.all = append(m.all, c)
	return c
}

// register exports the metrics, until unregister.
func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	m.registerer = r
	for i, c := range m.all {
		if err := r.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return err
		}
	}
	return nil
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}
