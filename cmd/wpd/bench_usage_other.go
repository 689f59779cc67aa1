//go:build !unix

package main

import "time"

// What can't be told on this system is 0.

func processCPU() time.Duration { return 0 }
func resetPeakRSS()             {}
func peakRSS() int64            { return 0 }
