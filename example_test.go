package wpd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
)

func Example() {
	ctx := context.Background()
	n, err := node.Open(ctx, node.Config{Bucket: "mem://"}) // or file:///…, with a DataDir
	if err != nil {
		panic(err)
	}
	defer n.Close()
	log, err := n.Client().Create(ctx, "orders", wpd.LogConfig{})
	if err != nil {
		panic(err)
	}
	w, err := log.Writer(ctx)
	if err != nil {
		panic(err)
	}
	defer w.Close()

	for _, order := range []string{"two apples", "a pear"} {
		lsn, err := w.Append(ctx, []byte(order)) // durable on return
		if err != nil {
			panic(err)
		}
		fmt.Println("stored at", lsn)
	}
	for entry, err := range log.Read(ctx, wpd.Earliest) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%d: %s\n", entry.LSN, entry.Data)
	}
	// Output:
	// stored at 1
	// stored at 2
	// 1: two apples
	// 2: a pear
}

// The same service, and the same client, from another program.
func ExampleDial() {
	ctx := context.Background()
	n, err := node.Open(ctx, node.Config{Bucket: "mem://", Listen: "127.0.0.1:0"}) // or: wpd serve
	if err != nil {
		panic(err)
	}
	defer n.Close()

	client, err := wpd.Dial(ctx, n.Addr().String())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	log, err := client.Create(ctx, "orders", wpd.LogConfig{})
	if err != nil {
		panic(err)
	}
	tail, err := log.Tail(ctx)
	fmt.Println(tail, err)
	// Output:
	// 1 <nil>
}

// A log as a lock-free state machine: who has read up to the tail may append,
// if nobody else was faster.
func ExampleIfTail() {
	ctx := context.Background()
	log, done := exampleLog()
	defer done()
	w, err := log.Writer(ctx)
	if err != nil {
		panic(err)
	}
	_, err = w.Append(ctx, []byte("open account"), wpd.IfTail(1))
	fmt.Println(err)
	_, err = w.Append(ctx, []byte("open account"), wpd.IfTail(1))
	var tail *wpd.TailError
	if errors.As(err, &tail) {
		fmt.Println("somebody was faster, the tail is", tail.Tail)
	}
	// Output:
	// <nil>
	// somebody was faster, the tail is 2
}

// A source is ingested line by line, and each line is in the log once,
// however often the program is started again.
func ExampleProducerID() {
	ctx := context.Background()
	log, done := exampleLog()
	defer done()
	ingest := func(source string) error {
		w, err := log.Writer(ctx, wpd.ProducerID("ingest"))
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(strings.NewReader(source))
		for n := uint64(1); lines.Scan(); n++ {
			if n > w.Stored() { // else an earlier run has stored it
				w.AppendAsync(ctx, wpd.Entry{Data: lines.Bytes()})
			}
		}
		return w.Close() // waits until all is durable
	}
	for _, source := range []string{"a\nb\n", "a\nb\nc\n", "a\nb\nc\n"} {
		if err := ingest(source); err != nil {
			panic(err)
		}
	}
	for entry, err := range log.Read(ctx, wpd.Earliest) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%d: %s\n", entry.LSN, entry.Data)
	}
	// Output:
	// 1: a
	// 2: b
	// 3: c
}

// A reader that remembers its position goes on there, and waits for more.
func ExampleLog_Reader() {
	ctx := context.Background()
	log, done := exampleLog()
	defer done()
	w, err := log.Writer(ctx)
	if err != nil {
		panic(err)
	}
	ack, err := w.AppendBatch(ctx, []wpd.Entry{
		{Data: []byte("debit"), Headers: []wpd.Header{{Key: "account", Value: []byte("7")}}},
		{Data: []byte("credit"), Headers: []wpd.Header{{Key: "account", Value: []byte("9")}}},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("both at", ack.From, "to", ack.To)
	r, err := log.Reader(ctx, wpd.From(2), wpd.Follow())
	if err != nil {
		panic(err)
	}
	defer r.Close()
	entry, err := r.Next(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s=%s\n", entry.Data, entry.Headers[0].Key, entry.Headers[0].Value)
	fmt.Println("resume at", r.Position())
	// Output:
	// both at 1 to 3
	// credit account=9
	// resume at 3
}

// exampleLog returns a new log of a service in memory.
func exampleLog() (log *wpd.Log, done func()) {
	n, err := node.Open(context.Background(), node.Config{Bucket: "mem://"})
	if err != nil {
		panic(err)
	}
	log, err = n.Client().Create(context.Background(), "log", wpd.LogConfig{})
	if err != nil {
		panic(err)
	}
	return log, func() {
		if err := n.Close(); err != nil {
			panic(err)
		}
	}
}
