package testcluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Switch is a network of hosts, in memory: streams and packets between them,
// and everything that can go wrong on the way. It opens no sockets, starts no
// goroutines, and all that waits on it waits in a way that a testing/synctest
// bubble understands. Use [NewSwitch]. Safe for concurrent use.
//
// A host is known by its name and by a made-up address of its own (Host.IP), so
// "n1:7070" and "10.0.0.1:7070" are the same.
type Switch struct {
	rndMu sync.Mutex
	rnd   *rand.Rand

	mu     sync.Mutex // guards what follows; taken before the lock of a cable or a link
	change *sync.Cond // of anything below, for those who accept and dial
	hosts  map[string]*Host
	ips    map[string]net.IP // addresses by name
	names  map[string]string // the reverse
	links  map[route]*link
	normal []normal // rules, of which the last one counts
	paused map[string]bool
	cables map[*cable]struct{}
}

// NewSwitch makes a network without hosts. rnd is the network's own from then
// on; it decides what Link leaves to chance.
func NewSwitch(rnd *rand.Rand) *Switch {
	s := &Switch{
		rnd:   rnd,
		hosts: make(map[string]*Host), ips: make(map[string]net.IP), names: make(map[string]string),
		links: make(map[route]*link), paused: make(map[string]bool), cables: make(map[*cable]struct{}),
	}
	s.change = sync.NewCond(&s.mu)
	return s
}

// Host returns the host of a name, and plugs in a new one if there is none, or
// the last one was unplugged. A name is a word without colons, or an address.
func (s *Switch) Host(name string) *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hosts[name]; h != nil {
		return h
	}
	h := &Host{net: s, name: name, listeners: make(map[int]*listener), packets: make(map[int]*packetConn)}
	s.hosts[name] = h
	if s.ips[name] == nil {
		ip := net.ParseIP(name)
		if ip == nil {
			n := len(s.ips) + 1
			ip = net.IPv4(10, 0, byte(n>>8), byte(n))
		}
		s.ips[name], s.names[ip.String()] = ip, name
	}
	return h
}

// linkLocked returns the link of a route.
func (s *Switch) linkLocked(from, to string) *link {
	r := route{from, to}
	l := s.links[r]
	if l == nil {
		l = &link{route: r, rule: s.normalLocked(r), frozen: s.paused[from] || s.paused[to]}
		s.links[r] = l
	}
	return l
}

// Normal sets how links are while nobody says otherwise, and makes them so,
// which ends their cuts; "" stands for all hosts, now and later. Within a host
// everything goes at once.
func (s *Switch) Normal(from, to string, rule Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.normal = append(s.normal, normal{route{from, to}, rule})
	for r, l := range s.links {
		if s.normal[len(s.normal)-1].covers(r) {
			s.ruleLocked(l, rule)
		}
	}
	s.change.Broadcast()
}

// normal is what Normal was told.
type normal struct {
	route
	rule Link
}

func (n normal) covers(r route) bool {
	return r.from != r.to && (n.from == "" || n.from == r.from) && (n.to == "" || n.to == r.to)
}

// normalLocked is the rule of a link that nobody has set: the last that covers
// it.
func (s *Switch) normalLocked(r route) Link {
	for _, n := range slices.Backward(s.normal) {
		if n.covers(r) {
			return n.rule
		}
	}
	return Link{}
}

// Heal ends all cuts, and makes all links normal. Paused hosts stay paused.
func (s *Switch) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r, l := range s.links {
		s.ruleLocked(l, s.normalLocked(r))
	}
	s.change.Broadcast()
}

// Set makes one way between two hosts such as it is told, until it is set again
// or healed.
func (s *Switch) Set(from, to string, rule Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ruleLocked(s.linkLocked(from, to), rule)
	s.change.Broadcast()
}

// Cut cuts one way between two hosts; all else about it stays.
func (s *Switch) Cut(how Cutting, from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked(how, from, to)
	s.change.Broadcast()
}

func (s *Switch) cutLocked(how Cutting, from, to string) {
	l := s.linkLocked(from, to)
	rule, _ := l.state()
	rule.Cut = how
	s.ruleLocked(l, rule)
}

// Partition cuts, both ways, between hosts of different groups. What is within
// a group, and hosts of no group, stay as they are.
func (s *Switch) Partition(how Cutting, groups ...[]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	acrossGroups(groups, func(from, to string) { s.cutLocked(how, from, to) })
	s.change.Broadcast()
}

// acrossGroups calls f for every way between hosts of different groups.
func acrossGroups(groups [][]string, f func(from, to string)) {
	for i, group := range groups {
		for _, other := range groups[i+1:] {
			for _, a := range group {
				for _, b := range other {
					f(a, b)
					f(b, a)
				}
			}
		}
	}
}

// ruleLocked changes the rule of a link, and does to its connections what
// follows from it.
func (s *Switch) ruleLocked(l *link, rule Link) {
	l.mu.Lock()
	was, stalled := l.rule.Cut, l.stalledLocked()
	l.rule = rule
	l.mu.Unlock()
	s.changedLocked(l.route, !stalled && rule.Cut == Stalled, was != Broken && rule.Cut == Broken)
}

// Pause stops a host as SIGSTOP stops a process: to others its connections are
// silent, new ones are taken by its kernel but not answered, packets wait. It
// gets nothing, and what it sends meanwhile waits too.
func (s *Switch) Pause(host string) { s.freeze(host, true) }

// Resume ends a pause. Everything that waited goes on its way.
func (s *Switch) Resume(host string) { s.freeze(host, false) }

func (s *Switch) freeze(host string, frozen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused[host] = frozen
	for r, l := range s.links {
		if r.from != host && r.to != host {
			continue
		}
		l.mu.Lock()
		was := l.stalledLocked() // by a cut as well: what that holds up has not arrived
		l.frozen = s.paused[r.from] || s.paused[r.to]
		now := l.frozen
		l.mu.Unlock()
		s.changedLocked(r, !was && now, false)
		if h := s.hosts[r.to]; h != nil {
			h.wakePacketsLocked()
		}
	}
	s.change.Broadcast()
}

// changedLocked tells the connections on a route, either way, that its link has
// changed: that it has begun to stall, or that it broke.
func (s *Switch) changedLocked(r route, stall, broke bool) {
	for c := range s.cables {
		if c.joins(r) {
			c.linkChanged(r, stall, broke)
		}
	}
}

// Counts returns what went from one host to another so far; "" stands for all
// hosts.
func (s *Switch) Counts(from, to string) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all Counts
	for r, l := range s.links {
		if (from == "" || r.from == from) && (to == "" || r.to == to) {
			l.mu.Lock()
			all = all.plus(l.counts, 1)
			l.mu.Unlock()
		}
	}
	return all
}

// Between returns what went between two hosts, both ways.
func (s *Switch) Between(a, b string) Counts {
	return s.Counts(a, b).plus(s.Counts(b, a), 1)
}

// chance draws whether something of that probability happens.
func (s *Switch) chance(p float64) bool {
	if p <= 0 {
		return false
	}
	s.rndMu.Lock()
	defer s.rndMu.Unlock()
	return s.rnd.Float64() < p
}

// under draws a duration in [0, d).
func (s *Switch) under(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	s.rndMu.Lock()
	defer s.rndMu.Unlock()
	return time.Duration(s.rnd.Int64N(int64(d)))
}

// onTheWay draws how long something takes over a link.
func (s *Switch) onTheWay(rule Link) time.Duration { return rule.Delay + s.under(rule.Jitter) }

// address is that of a host's end of something.
type address struct {
	network, host string
	port          int
}

func (a address) Network() string { return a.network }
func (a address) String() string  { return net.JoinHostPort(a.host, strconv.Itoa(a.port)) }

// resolve finds the host and the port of an address, as seen by a host.
func (s *Switch) resolve(self, addr string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("want HOST:PORT: %w", err)
	}
	if port, err = strconv.Atoi(digits); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("address %q: the port is not a number from 0 to 65535", addr)
	}
	ip := net.ParseIP(host)
	if slices.Contains([]string{"", "localhost"}, strings.ToLower(host)) || ip != nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		return self, port, nil
	}
	if ip != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if name, ok := s.names[ip.String()]; ok {
			return name, port, nil
		}
	}
	return host, port, nil
}
