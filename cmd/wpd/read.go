package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
	"github.com/wpd-io/wpd/wal/offline"
)

// readCommand is what the flags of wpd read say.
type readCommand struct {
	bucket, from, format string
	to, limit            uint64
}

func newReadCommand() *cobra.Command {
	var c readCommand
	cmd := &cobra.Command{
		Use:   "read --bucket URL LOG",
		Short: "Read a log from its bucket alone",
		Long: `Read a log's entries to stdout, from its bucket alone: no node and no data
directory are needed, and nothing is written. It may run while a node writes,
and then reads what is durable when it starts.

LOG is a name, the newest log of it if there were several; NAME@ID, or @ID, is
that very log. Trims since the log was last attached to a node, and deletions,
are not known to the bucket alone: such entries are still read.

Formats:
  lines   each entry and a newline
  json    one object a line: lsn, time, headers, data (data_b64 if it is no UTF-8)
  raw     the entries, one right after another
  length  each entry preceded by its length, 4 bytes, big-endian

Entries that are lost are told of on stderr; reading goes on behind them, and
the exit code is 7.`,
		Example: `  wpd read --bucket file:///var/lib/wpd/objects orders
  wpd read --bucket s3://wpd orders --from -100 --format json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&c.bucket, "bucket", "", "URL of the bucket: file:///path, s3://, gs://, azblob://")
	f.StringVar(&c.from, "from", "earliest", "where to start: an LSN, earliest, or -N for the last N entries")
	f.Uint64Var(&c.to, "to", 0, "end before this LSN (default: at the end)")
	f.Uint64Var(&c.limit, "limit", 0, "end after so many entries (default: no limit)")
	f.StringVar(&c.format, "format", "lines", "lines, json, raw or length")
	_ = cmd.MarkFlagRequired("bucket")
	return cmd
}

func (c readCommand) run(cmd *cobra.Command, ref string) (err error) {
	o, err := c.options()
	if err != nil {
		return usage(cmd, err)
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 256<<10)
	write, ok := entryWriters[c.format]
	if !ok {
		return usagef(cmd, "--format is %q; want lines, json, raw or length", c.format)
	}
	store, err := openForReading(cmd.Context(), c.bucket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	say := newProgress(cmd)
	defer say.clear()
	b, err := offline.Open(cmd.Context(), store, offline.Options{Progress: func(p offline.Progress) {
		say.say("looking for logs: %s of %s objects", countText(p.Objects), countText(p.Of))
	}})
	if err != nil {
		return err
	}
	say.clear()
	l, err := b.Find(ref)
	if err != nil {
		return err
	}
	var losses int
	for e, err := range b.Read(cmd.Context(), l, o) {
		if lost, ok := errors.AsType[*api.DataLossError](err); ok {
			losses++
			if err := out.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\n", cmd.CommandPath(), lost)
			continue
		}
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		if err := write(out, e); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if losses > 0 {
		return advise(&exitError{exitDataLoss, fmt.Errorf("log %s: %s could not be read", l.Ref(), plural(losses, "range"))},
			"wpd verify says what is damaged; all around it was read")
	}
	return nil
}

func (c readCommand) options() (offline.ReadOptions, error) {
	o := offline.ReadOptions{To: fragment.LSN(c.to), Limit: c.limit}
	if c.from == "earliest" {
		return o, nil
	}
	last, back := strings.CutPrefix(c.from, "-")
	n, err := strconv.ParseUint(last, 10, 64)
	if err != nil || n == 0 {
		return o, fmt.Errorf("--from is %q; want an LSN (the first is 1), earliest, or -N for the last N entries", c.from)
	}
	if back {
		o.Last = n
	} else {
		o.From = fragment.LSN(n)
	}
	return o, nil
}

// openForReading opens a bucket that must be there: a directory that is not is
// no bucket to be made.
func openForReading(ctx context.Context, bucket string) (*blobstore.Bucket, error) {
	if u, err := url.Parse(bucket); err == nil && u.Scheme == "file" && u.Path != "" {
		if _, err := os.Stat(u.Path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open bucket: %w", err)
		}
	}
	return blobstore.Open(ctx, bucket, blobstore.Options{})
}

// entryWriters write an entry, by format.
var entryWriters = map[string]func(w *bufio.Writer, e offline.Entry) error{
	"lines": func(w *bufio.Writer, e offline.Entry) error {
		_, _ = w.Write(e.Data) // the next one returns its error again
		return w.WriteByte('\n')
	},
	"raw": func(w *bufio.Writer, e offline.Entry) error {
		_, err := w.Write(e.Data)
		return err
	},
	"length": func(w *bufio.Writer, e offline.Entry) error {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(e.Data)))
		_, _ = w.Write(n[:])
		_, err := w.Write(e.Data)
		return err
	},
	"json": func(w *bufio.Writer, e offline.Entry) error { return printEntryJSON(w, e) },
}

// entryJSON is an entry as JSON.
type entryJSON struct {
	LSN     fragment.LSN `json:"lsn"`
	Time    time.Time    `json:"time"`
	Headers []headerJSON `json:"headers,omitempty"`
	dataJSON
}

type headerJSON struct {
	Key      string  `json:"key"`
	Value    *string `json:"value,omitempty"`
	ValueB64 *string `json:"value_b64,omitempty"`
}

type dataJSON struct {
	Data    *string `json:"data,omitempty"`
	DataB64 *string `json:"data_b64,omitempty"`
}

// textOrB64 is bytes as text if they are UTF-8, otherwise in base64.
func textOrB64(b []byte) (text, b64 *string) {
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

func printEntryJSON(w io.Writer, e offline.Entry) error {
	x := entryJSON{LSN: e.LSN, Time: e.Time}
	for _, h := range e.Headers {
		value, b64 := textOrB64(h.Value)
		x.Headers = append(x.Headers, headerJSON{h.Key, value, b64})
	}
	x.Data, x.DataB64 = textOrB64(e.Data)
	j := json.NewEncoder(w)
	j.SetEscapeHTML(false)
	return j.Encode(x)
}
