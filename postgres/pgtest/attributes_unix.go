//go:build unix && !linux

package pgtest

import "syscall"

// attributes makes a child that runs as a. Only Linux can tie it to the life of
// this process.
func attributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}
