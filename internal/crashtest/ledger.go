//go:build unix

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// Ledger is a [twophase.Participant] whose books are a file of changes. Each is
// written before the reply and applied again at opening, so the ledger outlives
// its process, and its file tells who held what at any moment.
//
// It gives each key one resource. There are few at a time, so that some are
// refused; new ones replace what was assigned.
type Ledger struct {
	name     string
	least    int // how many resources are free or reserved
	mu       sync.Mutex
	file     *os.File
	entries  map[twophase.Key]*ledgerEntry
	reserved map[twophase.Key]*ledgerEntry
	free     []string
	made     int // resources, ever
}

type ledgerEntry struct {
	twophase.Entry
	resource string // "" if it holds none
}

// Change is a line of a ledger: what a key has become.
type Change struct {
	At          time.Time
	Key         twophase.Key
	State       State
	Fingerprint []byte `json:",omitempty"`
	Expires     time.Time
	Resource    string `json:",omitempty"` // what the key holds from now on
}

// State is a [twophase.EntryState] that is written by its name.
type State twophase.EntryState

// MarshalText implements [encoding.TextMarshaler].
func (s State) MarshalText() ([]byte, error) { return []byte(twophase.EntryState(s).String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *State) UnmarshalText(text []byte) error {
	for *s = 0; *s <= State(twophase.EntryExpired); *s++ {
		if twophase.EntryState(*s).String() == string(text) {
			return nil
		}
	}
	return fmt.Errorf("there is no state %q", text)
}

// OpenLedger opens the ledger of that name in a file. It has so many resources
// at first, and new ones when fewer than least are left.
func OpenLedger(path, name string, first, least int) (*Ledger, error) {
	l := &Ledger{
		name:     name,
		least:    least,
		entries:  map[twophase.Key]*ledgerEntry{},
		reserved: map[twophase.Key]*ledgerEntry{},
	}
	l.restock(first)
	changes, size, err := readLines[Change](path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, change := range changes {
		l.apply(change)
	}
	if l.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	return l, l.file.Truncate(size) // of a line that was torn
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }

// Reserve implements [twophase.Participant].
func (l *Ledger) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return twophase.Reservation{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	resource := l.resource(req.Key)
	v := l.entry(req.Key).Reserve(twophase.FingerprintOf(req.Payload), req.Hold, now)
	if v.Take {
		if err := l.takeBack(now); err != nil {
			return twophase.Reservation{}, err
		}
		if len(l.free) == 0 {
			return twophase.Reservation{}, fmt.Errorf("%w: nothing free for %s", twophase.ErrRefused, req.Key)
		}
		resource = l.free[0]
	}
	if err := l.store(req.Key, v, resource, now); err != nil {
		return twophase.Reservation{}, err
	}
	return twophase.Reservation{
		Resources: []string{resource},
		TimeLeft:  v.Entry.TimeLeft(now),
		Assigned:  v.Entry.State == twophase.EntryAssigned,
	}, nil
}

// Assign implements [twophase.Participant].
func (l *Ledger) Assign(ctx context.Context, key twophase.Key) error {
	return l.change(ctx, key, twophase.Entry.Assign)
}

// Release implements [twophase.Participant].
func (l *Ledger) Release(ctx context.Context, key twophase.Key) error {
	return l.change(ctx, key, func(e twophase.Entry, _ time.Time) twophase.Verdict { return e.Release() })
}

func (l *Ledger) change(
	ctx context.Context, key twophase.Key, judge func(e twophase.Entry, now time.Time) twophase.Verdict,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return l.store(key, judge(l.entry(key), now), l.resource(key), now)
}

func (l *Ledger) entry(key twophase.Key) twophase.Entry {
	if e, ok := l.entries[key]; ok {
		return e.Entry
	}
	return twophase.Entry{}
}

func (l *Ledger) resource(key twophase.Key) string {
	if e, ok := l.entries[key]; ok {
		return e.resource
	}
	return ""
}

// store makes a verdict the state of things, in the file first, and returns its
// answer.
func (l *Ledger) store(key twophase.Key, v twophase.Verdict, resource string, now time.Time) error {
	if v.Entry != l.entry(key) {
		if v.Free {
			resource = ""
		}
		c := Change{
			At: now, Key: key, State: State(v.Entry.State),
			Fingerprint: v.Entry.Fingerprint[:], Expires: v.Entry.Expires, Resource: resource,
		}
		if err := appendLine(l.file, c); err != nil {
			return err
		}
		l.apply(c)
	}
	if v.Err != nil {
		return fmt.Errorf("%w: %s", v.Err, key)
	}
	return nil
}

// takeBack frees what has run out.
func (l *Ledger) takeBack(now time.Time) error {
	for key, e := range l.reserved {
		if v := e.Expire(now); v.Free {
			if err := l.store(key, v, "", now); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply makes a change that is in the file.
func (l *Ledger) apply(c Change) {
	e, ok := l.entries[c.Key]
	if !ok {
		e = &ledgerEntry{}
		l.entries[c.Key] = e
	}
	switch {
	case e.resource == "" && c.Resource != "":
		l.free = slices.DeleteFunc(l.free, func(free string) bool { return free == c.Resource })
	case e.resource != "" && c.Resource == "":
		l.free = append(l.free, e.resource)
	}
	e.State, e.Expires, e.resource = twophase.EntryState(c.State), c.Expires, c.Resource
	copy(e.Fingerprint[:], c.Fingerprint)
	if e.State == twophase.EntryReserved {
		l.reserved[c.Key] = e
	} else {
		delete(l.reserved, c.Key)
	}
	l.restock(l.least)
}

// restock adds resources until there are so many that are not assigned.
func (l *Ledger) restock(n int) {
	for len(l.free)+len(l.reserved) < n {
		l.made++
		l.free = append(l.free, fmt.Sprintf("%s-%d", l.name, l.made))
	}
}
