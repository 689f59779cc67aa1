package cluster

import (
	"math"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

const (
	// placeMemory is for how long a choice stands, so that all who ask for a
	// log before it is attached are sent to one node.
	placeMemory = 5 * time.Second
	// moveMemory is for how long a log that was moved is not moved again.
	moveMemory = time.Minute
	// rateMemory smooths what a node tells of its load: a burst moves no log.
	rateMemory = 30 * time.Second
	// rateNoise is a load of the whole cluster, in bytes per second, that
	// counts half as much as the number of logs; less of it counts less.
	rateNoise = 1 << 20
)

// load follows what a node tells of its load.
type load struct {
	heard  bool
	rate   float64 // bytes per second
	placed uint64  // logs placed there since its last renewal
	before uint64  // logs placed there between its last two renewals
}

func (l *load) hear(r Report, since time.Duration) {
	told := float64(r.BytesPerSec)
	if !l.heard {
		l.heard, l.rate = true, told
		return
	}
	l.rate += (told - l.rate) * (1 - math.Exp(-since.Seconds()/rateMemory.Seconds()))
	l.placed, l.before = 0, l.placed
}

// pending returns how many logs a node has been given that it may not have
// counted yet: they are attached and told after one to two renewals.
func (l *load) pending() uint64 { return l.placed + l.before }

// sharesOf returns what part of all work each node has: by the number of logs
// and by bytes, the latter the less the fewer there are. They add up to between
// one and two, or 0 if there is nothing to do.
func sharesOf(nodes []nodeLoad) []float64 {
	shares := make([]float64, len(nodes))
	var logs, rate float64
	for _, n := range nodes {
		logs += float64(n.logs)
		rate += n.rate
	}
	for i, n := range nodes {
		if logs > 0 {
			shares[i] = float64(n.logs) / logs
		}
		shares[i] += n.rate / (rate + rateNoise)
	}
	return shares
}

// places are a leader's latest choices.
type places struct {
	latest map[fragment.LogID]place
	moved  map[fragment.LogID]time.Duration // when each was told to move
	active bool                             // moves go on until all is balanced
	swept  time.Duration
	looked time.Duration // when all logs were looked at last
}

type place struct {
	identity string
	at       time.Duration
}

func (p *places) chosen(id fragment.LogID, now time.Duration) (string, bool) {
	x, ok := p.latest[id]
	return x.identity, ok && now-x.at < placeMemory
}

func (p *places) choose(id fragment.LogID, identity string, now time.Duration) {
	if p.latest == nil {
		p.latest = make(map[fragment.LogID]place)
	}
	p.sweep(now)
	p.latest[id] = place{identity, now}
}

func (p *places) move(x Move, now time.Duration) {
	p.choose(x.Log, x.To, now)
	if p.moved == nil {
		p.moved = make(map[fragment.LogID]time.Duration)
	}
	p.moved[x.Log] = now
}

// sweep forgets what no longer counts, now and then.
func (p *places) sweep(now time.Duration) {
	if now-p.swept < placeMemory {
		return
	}
	p.swept = now
	for id, x := range p.latest {
		if now-x.at >= placeMemory {
			delete(p.latest, id)
		}
	}
	for id, at := range p.moved {
		if now-at >= moveMemory {
			delete(p.moved, id)
		}
	}
}
