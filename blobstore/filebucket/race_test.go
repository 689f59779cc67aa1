package filebucket_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

const (
	racerEnv = "WPD_TEST_FILEBUCKET_RACER" // "directory name" of a racing process
	racers   = 4
	raceKeys = 200
)

func TestMain(m *testing.M) {
	if v := os.Getenv(racerEnv); v != "" {
		dir, name, _ := strings.Cut(v, "\n")
		if err := race(dir, name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// race creates all keys, each with the racer's name, and prints those it won.
func race(dir, name string) error {
	b, err := filebucket.Open(dir)
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for i := range raceKeys {
		key := fmt.Sprintf("race/%d/%d", i%3, i)
		err := b.Create(context.Background(), key, [][]byte{[]byte(name)})
		switch {
		case err == nil:
			fmt.Println(key)
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	return nil
}

// TestProcessRace has several processes create the same keys, in directories
// that none has yet made: each key must have one winner, and its content.
func TestProcessRace(t *testing.T) {
	dir := t.TempDir()
	type racer struct {
		cmd *exec.Cmd
		in  interface{ Write([]byte) (int, error) }
		out *bufio.Scanner
	}
	var all []racer
	for i := range racers {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s\nracer %d", racerEnv, dir, i))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, racer{cmd, in, bufio.NewScanner(out)})
	}
	for i, r := range all {
		if !r.out.Scan() || r.out.Text() != "ready" {
			t.Fatalf("racer %d is not ready: %q", i, r.out.Text())
		}
	}
	for _, r := range all {
		if _, err := r.in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
	}
	winner := make(map[string]int)
	won := make([]int, racers)
	for i, r := range all {
		for r.out.Scan() {
			if w, ok := winner[r.out.Text()]; ok {
				t.Errorf("%s has two winners, %d and %d", r.out.Text(), w, i)
			}
			winner[r.out.Text()] = i
			won[i]++
		}
		if err := r.cmd.Wait(); err != nil {
			t.Errorf("racer %d: %v", i, err)
		}
	}
	if len(winner) != raceKeys {
		t.Errorf("%d keys of %d have a winner", len(winner), raceKeys)
	}
	t.Logf("wins per process: %v", won)
	b, err := filebucket.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for key, w := range winner {
		if got := read(t, b, key); got != fmt.Sprintf("racer %d", w) {
			t.Errorf("%s holds %q, won by %d", key, got, w)
		}
	}
}
