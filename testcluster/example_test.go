package testcluster_test

import (
	"context"
	"fmt"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
)

// Three nodes, of which the one that writes is killed. In a test, t is its
// *testing.T, and Run is not needed.
func Example() {
	err := testcluster.Run("example", func(t testcluster.TB) {
		c := testcluster.New(t, 3, testcluster.WithConfig(func(_ int, c *node.Config) {
			c.Cluster.LeaseTTL = time.Second // by default it takes 3 s until others take over
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		log, err := c.Client().Create(ctx, "orders", wpd.LogConfig{})
		if err != nil {
			t.Fatalf("create: %v", err)
		}
		w, err := log.Writer(ctx)
		if err != nil {
			t.Fatalf("writer: %v", err)
		}
		append := func(what string) {
			lsn, err := w.Append(ctx, []byte(what))
			if err != nil {
				t.Fatalf("append: %v", err)
			}
			fmt.Printf("%d is durable\n", lsn)
		}
		append("one book")
		killed := c.Writer("orders")
		c.Kill(killed)
		append("two books")
		fmt.Println("another node writes:", c.Writer("orders") != killed)
		c.Start(killed)

		// Every node has all of it, that one too.
		for _, i := range c.All() {
			log, err := c.Node(i).Client().Log(ctx, "orders")
			if err != nil {
				t.Fatalf("log: %v", err)
			}
			for e, err := range log.Read(ctx, wpd.Earliest, wpd.AtLeast(2)) {
				if err != nil {
					t.Fatalf("read: %v", err)
				}
				fmt.Printf("%s: %d %s\n", c.Node(i).Name, e.LSN, e.Data)
			}
		}
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1 is durable
	// 2 is durable
	// another node writes: true
	// n1: 1 one book
	// n1: 2 two books
	// n2: 1 one book
	// n2: 2 two books
	// n3: 1 one book
	// n3: 2 two books
}
