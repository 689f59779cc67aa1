package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// inspectCommand is what the flags of wpd inspect say.
type inspectCommand struct {
	bucket           string
	batches, entries bool
}

func newInspectCommand() *cobra.Command {
	var c inspectCommand
	cmd := &cobra.Command{
		Use:   "inspect FILE | inspect --bucket URL KEY | inspect --addr HOST:PORT KEY",
		Short: "Decode any object of wpd's",
		Long: `Decode an object of a bucket, of the bucket of a server, or a file that holds one:
a fragment, an opening, a seal, a gap, an index, cluster.json or a boot. Every
checksum is shown, and whether it fits. Of a damaged object, it says where and how,
shows what could be decoded all the same, and exits with 7.`,
		Example: `  wpd inspect --bucket file:///var/lib/wpd/objects chains/0000000000000001/0000000000000001
  wpd inspect --addr 127.0.0.1:7070 cluster.json
  wpd inspect 0000000000000001 --entries`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}
	addServerFlags(cmd)
	f := cmd.Flags()
	f.Lookup("addr").Usage = "address of the server, HOST:PORT, whose bucket the key is in"
	f.StringVar(&c.bucket, "bucket", "", "URL of the bucket that the key is in (default: it is a file)")
	f.BoolVar(&c.batches, "batches", false, "list the batches too")
	f.BoolVar(&c.entries, "entries", false, "list the batches and their entries too")
	return cmd
}

// objectBytesMax is what is read of an object, or a file: none of ours is larger.
const objectBytesMax = fragment.ObjectBytesMax + 1

func (c inspectCommand) run(cmd *cobra.Command, name string) (err error) {
	in := inspection{Object: name}
	switch remote := cmd.Flags().Changed("addr"); {
	case remote && c.bucket != "":
		return usagef(cmd, "--addr and --bucket exclude each other: a server has its own bucket")
	case remote:
		err = in.readServer(cmd, name)
	case c.bucket != "":
		err = in.readBucket(cmd.Context(), c.bucket, name)
	default:
		err = in.readFile(name)
	}
	if err != nil {
		return err
	}
	in.decode(c.batches || c.entries, c.entries)
	out := cmd.OutOrStdout()
	if wantsObjects(cmd) {
		err = printObject(cmd, in.json())
	} else {
		p := &inspectPrinter{w: out, ink: inkFor(cmd, out)}
		p.print(&in)
		err = p.err
	}
	if err != nil {
		return err
	}
	if version, ok := errors.AsType[*fragment.VersionError](in.err); ok {
		return advise(version, "use a newer wpd")
	}
	if in.err != nil {
		return advise(&exitError{exitDataLoss, in.err}, "what could be decoded is shown; restore the object from a copy")
	}
	return nil
}

// readServer reads an object of a server's bucket.
func (in *inspection) readServer(cmd *cobra.Command, key string) error {
	ctx, a, done, err := connectAdmin(cmd)
	if err != nil {
		return err
	}
	defer done() //nolint:errcheck // nothing is under way
	b, err := a.ReadObject(ctx, key)
	in.bytes, in.Size, in.key = b[:min(len(b), objectBytesMax)], int64(len(b)), key
	return err
}

// readBucket reads an object of a bucket.
func (in *inspection) readBucket(ctx context.Context, url, key string) (err error) {
	store, err := openForReading(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	in.key = key
	in.bytes, in.Size, err = store.ReadRange(ctx, key, 0, objectBytesMax)
	return err
}

// readFile reads a file. Its path may tell the key that it has in a bucket.
func (in *inspection) readFile(name string) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return advise(err, "to decode an object of a bucket, add --bucket URL, or --addr HOST:PORT of its server")
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was read only
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return advise(&exitError{exitUsage, fmt.Errorf("%s is a directory", name)}, "name one object; to decode one of a bucket, add --bucket URL")
	}
	in.Size = info.Size()
	if in.bytes, err = io.ReadAll(io.LimitReader(f, objectBytesMax)); err != nil {
		return err
	}
	if abs, err := filepath.Abs(name); err == nil {
		parts := strings.Split(filepath.ToSlash(abs), "/")
		in.key = strings.Join(parts[max(0, len(parts)-3):], "/")
	}
	return nil
}

// inspection is what was made out of an object.
type inspection struct {
	Object  string
	Size    int64
	bytes   []byte
	key     string // "" if not known
	own     map[string]any
	x       fragment.Examination
	batches []inspectedSlice
	err     error // what is wrong; nil: it is whole
}

type inspectedSlice struct {
	log     fragment.LogID // 0: not known
	batches []fragment.ExaminedBatch
	entries bool
}

// isJSON says whether an object is one of the cluster's own.
func (in *inspection) isJSON() bool {
	return strings.HasSuffix(in.key, "cluster.json") || strings.HasPrefix(in.key, "nodes/") ||
		bytes.HasPrefix(bytes.TrimSpace(in.bytes), []byte("{"))
}

func (in *inspection) decode(batches, entries bool) {
	if in.isJSON() {
		if err := json.Unmarshal(in.bytes, &in.own); err != nil {
			in.err = &fragment.CorruptError{Object: in.Object, Reason: err.Error()}
		}
		return
	}
	in.x = fragment.Examine(in.bytes)
	in.err = fragment.At(in.x.Err, in.Object, 0)
	if in.Size > fragment.ObjectBytesMax {
		in.err = &fragment.CorruptError{Object: in.Object, Offset: fragment.ObjectBytesMax, Reason: fmt.Sprintf("%d bytes, no object has more than %d", in.Size, fragment.ObjectBytesMax)}
	}
	switch {
	case in.err == nil:
		in.err = in.misplaced()
	case in.x.Head == nil && in.x.Footer == nil:
		in.err = fmt.Errorf("neither the beginning nor the end is that of an object of wpd's: %w", in.err)
	}
	if !batches {
		return
	}
	if in.x.Directory == nil {
		if body := in.bytes[in.x.Body[0]:in.x.Body[1]]; len(body) > 0 {
			in.batches = append(in.batches, inspectedSlice{0, fragment.ExamineBatches(0, body, in.x.Body[0]), entries})
		}
		return
	}
	for _, s := range in.x.Directory.Slices {
		if end := uint64(s.Offset) + uint64(s.Length); end <= uint64(len(in.bytes)) {
			in.batches = append(in.batches, inspectedSlice{s.Log, fragment.ExamineBatches(s.Log, in.bytes[s.Offset:end], int(s.Offset)), entries})
		}
	}
}

// misplaced says whether a whole object stands under the key of another.
func (in *inspection) misplaced() error {
	h := in.x.Head
	wrong := &segment.MisplacedError{Object: in.Object, Kind: h.Kind, Epoch: h.Epoch, N: h.N, Cluster: h.Cluster}
	if e, n, err := fragment.ParseChainKey(in.key); err == nil {
		if h.Kind == fragment.KindIndex || h.Epoch != e || h.N != n {
			return wrong
		}
	} else if strings.HasPrefix(in.key, "index/") {
		x := in.x.Directory.Index
		if h.Kind != fragment.KindIndex || fragment.IndexKey(h.Epoch, x.From, x.To, fragment.Checksum(in.bytes)) != in.key {
			return wrong
		}
	}
	return nil
}
