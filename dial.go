package wpd

import (
	"context"
	"log/slog"
	"net"
	"strings"

	"github.com/wpd-io/wpd/rpc/client"
)

// An Option changes how Dial connects.
type Option func(*dialOptions)

type dialOptions struct {
	config client.Config
}

// WithDialer makes connections by dial instead of TCP; addr is one of those
// that Dial got.
func WithDialer(dial func(ctx context.Context, addr string) (net.Conn, error)) Option {
	return func(o *dialOptions) { o.config.Dialer = dial }
}

// WithLogger logs broken connections, and at level debug every batch under the
// id that the service's own log has of it. By default nothing is logged.
func WithLogger(l *slog.Logger) Option { return func(o *dialOptions) { o.config.Logger = l } }

// Dial connects to a log service: addrs are the addresses of its nodes,
// host:port, with commas between several; the first that answers is used. ctx
// bounds only the dialling. Errors: ErrInvalid (an address), ErrUnavailable
// (nobody answers; it names each address, and why).
//
// The client lives through broken connections and restarts of the service, by
// connecting again. What that means for a call: one that surely did nothing is
// tried again for a while, and is ErrUnavailable then; one that changes
// something, and was sent, is ErrUncertain. A Writer and a Reader go on by
// themselves. If another cluster should answer some day, where the ids of logs
// mean something else, every call is refused with a *WrongClusterError.
func Dial(ctx context.Context, addrs string, opts ...Option) (*Client, error) {
	o := makeOptions(opts)
	for addr := range strings.SplitSeq(addrs, ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			o.config.Addrs = append(o.config.Addrs, addr)
		}
	}
	s, err := client.Dial(ctx, o.config)
	if err != nil {
		return nil, err
	}
	return NewClient(s, s.Close), nil
}
