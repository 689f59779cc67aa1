package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// registerMetrics exports who the node is, and how.
func (n *Node) registerMetrics() error {
	r := n.cfg.Registerer
	if r == nil {
		return nil
	}
	flag := func(name, help string, value func() bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wpd_node_" + name, Help: help}, func() float64 {
			if value() {
				return 1
			}
			return 0
		})
	}
	for _, c := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "wpd_node_info", Help: "Always 1; the labels say who answers.",
			ConstLabels: prometheus.Labels{
				"node": n.member.Name(), "identity": n.member.Identity(), "cluster": n.member.ClusterID().String(),
				"version": n.cfg.Version, "commit": n.cfg.Commit,
			},
		}, func() float64 { return 1 }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "wpd_node_start_time_seconds", Help: "When the node began to open, in seconds since 1970. A rise is a restart.",
		}, func() float64 { return float64(n.started.UnixMilli()) / 1e3 }),
		flag("ready", "1 while nothing that the node knows speaks against appends; 0 for long is an alarm, /readyz says why.",
			func() bool { return n.logs.Ready() == nil && !n.isDraining() }),
		flag("draining", "1 once the node is about to stop.", n.isDraining),
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		n.closers = append(n.closers, func(context.Context) error {
			if !r.Unregister(c) {
				return errors.New("a metric of the node was taken away by somebody else")
			}
			return nil
		})
	}
	return nil
}
