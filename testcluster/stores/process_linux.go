package stores

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the system kill a process that outlives the test, as when
// that ran out of time.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
