package cluster

import (
	"context"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger lets raft log through slog, each message one level lower than
// raft gives it: that an election begins is a warning to raft and daily
// business to us. A warning that has just been given comes as a debug message:
// a peer that is gone would fill the log.
type raftLogger struct {
	out   *slog.Logger
	name  string
	args  []any
	given *given
}

// given remembers when each warning came last.
type given struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const (
	warnEvery = 10 * time.Second // each warning
	warnsMax  = 256              // far more than raft has
)

// lately says whether a warning came within warnEvery, and notes that it comes.
func (g *given) lately(msg string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if at, ok := g.last[msg]; ok && now.Sub(at) < warnEvery {
		return true
	}
	if len(g.last) >= warnsMax {
		clear(g.last)
	}
	g.last[msg] = now
	return false
}

var _ hclog.Logger = (*raftLogger)(nil)

func newRaftLogger(l *slog.Logger) *raftLogger {
	return &raftLogger{out: l, name: "raft", given: &given{last: make(map[string]time.Time)}}
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error:
		return slog.LevelWarn
	case hclog.Warn:
		return slog.LevelInfo
	case hclog.Info:
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4
}

// Log implements hclog.Logger.
func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	at := slogLevel(level)
	if level == hclog.Off || !l.out.Enabled(context.Background(), at) {
		return
	}
	if at >= slog.LevelWarn && l.given.lately(l.name+msg) {
		at = slog.LevelDebug
	}
	l.out.Log(context.Background(), at, l.name+": "+msg, args...)
}

// Trace, Debug, Info, Warn and Error implement hclog.Logger.
func (l *raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) enabled(level hclog.Level) bool {
	return l.out.Enabled(context.Background(), slogLevel(level))
}

// IsTrace, IsDebug, IsInfo, IsWarn and IsError implement hclog.Logger.
func (l *raftLogger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *raftLogger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *raftLogger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *raftLogger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *raftLogger) IsError() bool { return l.enabled(hclog.Error) }

// ImpliedArgs implements hclog.Logger.
func (l *raftLogger) ImpliedArgs() []any { return l.args }

// With implements hclog.Logger.
func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{out: l.out.With(args...), name: l.name, args: append(l.args[:len(l.args):len(l.args)], args...), given: l.given}
}

// Name implements hclog.Logger.
func (l *raftLogger) Name() string { return l.name }

// Named implements hclog.Logger.
func (l *raftLogger) Named(name string) hclog.Logger {
	return &raftLogger{out: l.out, name: l.name + "." + name, args: l.args, given: l.given}
}

// ResetNamed implements hclog.Logger.
func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	return &raftLogger{out: l.out, name: name, args: l.args, given: l.given}
}

// SetLevel implements hclog.Logger; the slog.Handler has the say.
func (l *raftLogger) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (l *raftLogger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

// StandardLogger implements hclog.Logger.
func (l *raftLogger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

// StandardWriter implements hclog.Logger.
func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return lineWriter{l}
}

// lineWriter logs each write as one message.
type lineWriter struct{ l *raftLogger }

func (w lineWriter) Write(b []byte) (int, error) {
	w.l.Info(string(b))
	return len(b), nil
}

// gossipLogger returns a logger for memberlist, whose lines begin with a level.
func (l *raftLogger) gossipLogger() *log.Logger {
	return log.New(&gossipLines{l: &raftLogger{out: l.out, name: "gossip", given: l.given}}, "", 0)
}

// gossipLines logs lines of memberlist's. Of those that others can cause, which
// are errors and warnings, it lets one a second pass.
type gossipLines struct {
	l     *raftLogger
	limit logLimit
}

var gossipLevels = map[string]hclog.Level{
	"[DEBUG]": hclog.Debug, "[INFO]": hclog.Info, "[WARN]": hclog.Warn, "[ERR]": hclog.Error, "[ERROR]": hclog.Error,
}

func (w *gossipLines) Write(b []byte) (int, error) {
	line := strings.TrimSpace(string(b))
	level := hclog.Info
	word, rest, _ := strings.Cut(line, " ")
	if x, ok := gossipLevels[word]; ok {
		level, line = x, strings.TrimPrefix(rest, "memberlist: ")
	}
	if level >= hclog.Warn {
		if _, ok := w.limit.pass(); !ok {
			return len(b), nil
		}
	}
	w.l.Log(level, line)
	return len(b), nil
}
