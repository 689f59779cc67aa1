//go:build unix

package process

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// CPU is the processor time that this process has used, in user and system
// mode.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// RSS is the memory that the process has resident, in bytes, and the most that
// it ever had, or had since ResetPeakRSS.
func RSS() (now, peak int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return 0, int64(u.Maxrss) << 10
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			now = kb << 10
		case "VmHWM":
			peak = kb << 10
		}
	}
	return now, peak
}

// ResetPeakRSS makes the peak of RSS count from now, where the system can do
// that; elsewhere it is that of the process.
func ResetPeakRSS() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }
