package pgtest

import "syscall"

// attributes makes a child that runs as a, in a process group of its own so
// that an interrupt at the terminal is ours to pass on, and that is told to
// shut down at once when this process dies.
func attributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}
