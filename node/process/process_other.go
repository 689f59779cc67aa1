//go:build !unix

package process

import "time"

// CPU is 0: this system does not tell.
func CPU() time.Duration { return 0 }

// RSS is 0: this system does not tell.
func RSS() (now, peak int64) { return 0, 0 }

// ResetPeakRSS does nothing here.
func ResetPeakRSS() {}
