// Command install installs the object stores that tests run against, at pinned
// versions, below a directory of the user's cache, or of WPD_TEST_STORES_DIR. What is
// there already stays as it is. It takes no arguments.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/wpd-io/wpd/testcluster/stores"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := stores.Install(ctx, os.Stdout, stores.Kinds...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
