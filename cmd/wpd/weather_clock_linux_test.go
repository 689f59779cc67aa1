package main

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// clockEnv makes the test binary run with a wall clock that is ahead of the
// machine's by as many seconds as the file that it names says at any time.
const clockEnv = "WPD_TEST_CLOCK"

// TestWeatherClock moves the wall clock of one node by a day, both ways. Nothing
// but package time can tell: the monotonic clock and all timers go on.
func TestWeatherClock(t *testing.T) {
	t.Parallel()
	if jumps[runtime.GOARCH] == nil {
		t.Skipf("time.Now can be replaced on amd64 and arm64 only: the jump to another one is not known for %s", runtime.GOARCH)
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	s := newSky(t, 3, func(s *sky) {
		s.binary = os.Args[0] // which can do that
		s.env = func(name string) []string {
			require.NoError(t, os.WriteFile(file(name), make([]byte, 8), 0o600))
			return []string{clockEnv + "=" + file(name)}
		}
	})
	s.weather(t, "clocks jump by a day", map[string]int{"clock": 8}, func(w *storm) {
		log := w.log("a")
		writer := w.writer(log)
		leader := w.lead(w.others(writer)[0])
		for _, i := range []int{writer, leader} {
			seen := writer // whose clock is told from the leader's
			for _, days := range []int64{1, 0, -1, 0} {
				moveClock(w, file(w.nodes[i].name), days*24*60*60)
				w.await("the clock to be seen moved", func() bool {
					skew := w.metric(seen, "wpd_cluster_lease_clock_skew_seconds")
					return math.Abs(math.Abs(skew)-math.Abs(float64(days*24*60*60))) < 60
				})
				w.fault("clock", 1)
				w.ackedTo(log, stormSome)
			}
			require.Equal(w, leader, w.leader(), "who leads is another one than was meant")
		}
	})
}

// moveClock sets how far a clock is ahead, in seconds.
func moveClock(w *storm, file string, ahead int64) {
	w.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	require.NoError(w, err)
	_, err = f.Write(binary.NativeEndian.AppendUint64(nil, uint64(ahead)))
	require.NoError(w, err)
	require.NoError(w, f.Close())
}

func init() {
	if file := os.Getenv(clockEnv); file != "" {
		if err := replaceClock(file); err != nil {
			os.Stderr.WriteString("replace the clock: " + err.Error() + "\n")
			os.Exit(1)
		}
	}
}

var (
	clockStart = time.Now()
	clockAhead = new(int64)
)

// jumps is the code that goes on at an address, which follows it or is put at
// the offset, by architecture.
var jumps = map[string]func(to uint64) []byte{
	"amd64": func(to uint64) []byte { // mov rdx, to; jmp rdx
		return append(binary.LittleEndian.AppendUint64([]byte{0x48, 0xba}, to), 0xff, 0xe2)
	},
	"arm64": func(to uint64) []byte { // ldr x16, to; br x16
		return binary.LittleEndian.AppendUint64([]byte{0x50, 0, 0, 0x58, 0, 0x02, 0x1f, 0xd6}, to)
	},
}

// replaceClock has every call of time.Now in this process go on at movedNow, by
// a jump at its first instruction.
func replaceClock(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it stays mapped
	shared, err := unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	clockAhead = (*int64)(unsafe.Pointer(unsafe.SliceData(shared)))
	memory, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer memory.Close() //nolint:errcheck // the write says whether it worked
	code := jumps[runtime.GOARCH](uint64(reflect.ValueOf(movedNow).Pointer()))
	_, err = memory.WriteAt(code, int64(reflect.ValueOf(time.Now).Pointer()))
	return err
}

// movedNow is time.Now with the wall clock moved. A time.Time begins with a word
// that has the wall clock's seconds from bit 30 on, next to the monotonic clock,
// which time.Since goes by.
func movedNow() time.Time {
	now := clockStart.Add(time.Since(clockStart))
	*(*uint64)(unsafe.Pointer(&now)) += uint64(atomic.LoadInt64(clockAhead)) << 30
	return now
}
