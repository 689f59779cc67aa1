package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/wpd-io/wpd/wal/api"
)

// What the HTTP listener bears. It is for one machine's operators and their
// tools, so little is enough.
const (
	httpConnectionsMax = 64
	httpHeaderBytesMax = 16 << 10
	httpReadTimeout    = 10 * time.Second // of a request, its header included
	httpWriteTimeout   = 2 * time.Minute  // a profile may take that long
	httpIdleTimeout    = time.Minute
	httpCloseTimeout   = time.Second // what is still answered then is cut off
	httpScrapesMax     = 4
	levelBytesMax      = 64 // of the body of PUT /loglevel
)

// httpPaths are told to whoever asks for another.
const httpPaths = `/metrics        for Prometheus
/healthz        200 while the process is up
/readyz         200 while the node can append and read; otherwise 503, and why not
/loglevel       GET tells what is logged, PUT changes it: debug, info, warn or error
/debug/pprof/   profiles of the process
`

// serveHTTP serves what operators want to see, also before the node is open: then
// only the configuration is there, and what opened returns.
func (n *Node) serveHTTP() {
	if n.httpListener == nil {
		return
	}
	s := &http.Server{
		Handler:           n.httpHandler(),
		ReadHeaderTimeout: httpReadTimeout, ReadTimeout: httpReadTimeout,
		WriteTimeout: httpWriteTimeout, IdleTimeout: httpIdleTimeout,
		MaxHeaderBytes: httpHeaderBytesMax,
		ErrorLog:       slog.NewLogLogger(n.cfg.Logger.Handler(), slog.LevelDebug),
	}
	n.closers = append(n.closers, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, httpCloseTimeout)
		defer cancel()
		if err := s.Shutdown(ctx); err == nil {
			return nil
		}
		return s.Close()
	})
	n.serve(httpListener, func() error { return s.Serve(netutil.LimitListener(n.httpListener, httpConnectionsMax)) })
}

func (n *Node) httpHandler() http.Handler {
	gatherer := n.cfg.Registerer.(prometheus.Gatherer) // validate has looked
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		MaxRequestsInFlight: httpScrapesMax, Timeout: httpReadTimeout,
		ErrorLog: slog.NewLogLogger(n.cfg.Logger.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", n.serveReady)
	mux.HandleFunc("GET /loglevel", n.serveLevel)
	mux.HandleFunc("PUT /loglevel", n.serveSetLevel)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol) // from go tool pprof
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		name := starting
		if n.opened() != nil {
			name = "wpd node " + n.member.Name()
		}
		answer(w, http.StatusOK, name+"\n\n"+strings.TrimSpace(httpPaths))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		get := r.Clone(r.Context())
		if get.Method = http.MethodGet; r.Method != http.MethodGet && r.Method != http.MethodHead {
			if _, pattern := mux.Handler(get); pattern != "/" {
				answer(w, http.StatusMethodNotAllowed, fmt.Sprintf("%.20q is not what %.200q takes: GET, and PUT for /loglevel", r.Method, r.URL.Path))
				return
			}
		}
		answer(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %.200q; there is\n\n%s", r.URL.Path, strings.TrimSpace(httpPaths)))
	})
	return mux
}

// answer writes a text.
func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n") // a caller that has left
}

func (n *Node) serveReady(w http.ResponseWriter, r *http.Request) {
	if err := n.Ready(r.Context()); err != nil {
		answer(w, http.StatusServiceUnavailable, "not ready\n"+err.Error())
		return
	}
	answer(w, http.StatusOK, "ready")
}

func (n *Node) serveLevel(w http.ResponseWriter, _ *http.Request) {
	if n.cfg.Level == nil {
		answer(w, http.StatusNotFound, "the program that this node is part of has fixed its log level")
		return
	}
	answer(w, http.StatusOK, LevelText(n.cfg.Level.Level()))
}

func (n *Node) serveSetLevel(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, levelBytesMax))
	if err != nil {
		answer(w, http.StatusBadRequest, "want one word: debug, info, warn or error")
		return
	}
	level := strings.TrimSpace(string(body))
	switch _, err := n.SetLogLevel(level); {
	case errors.Is(err, api.ErrForbidden):
		answer(w, http.StatusForbidden, err.Error())
	case err != nil:
		answer(w, http.StatusBadRequest, err.Error())
	default:
		answer(w, http.StatusOK, LevelText(n.cfg.Level.Level()))
	}
}
