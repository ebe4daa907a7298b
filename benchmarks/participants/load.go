package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
)

// owner is what the pools of all databases can do.
type owner interface {
	twophase.Participant
	Restock(ctx context.Context, kind string, ids ...string) error
}

// database keeps pools, and does plain transactions beside them.
type database interface {
	about() string
	open(ctx context.Context) (p owner, tidy func(context.Context) error, end func() error, err error)
	plain(ctx context.Context, rows, callers int, d time.Duration) (plain, error)
	close() error
}

// plain is how many updates of one row by its primary key the database did a second:
// each a transaction, and, where there is one writer, as many as there are callers in
// one.
type plain struct{ single, grouped float64 }

func (p plain) groupedText() string {
	if p.grouped == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", p.grouped)
}

// stock is a pool and how its keys and kinds are numbered.
type stock struct {
	owner
	end   func() error
	kinds int
	free  int
	next  atomic.Int64
}

func (s *stock) close() error { return s.end() }

// open returns a pool of so many resources, half of which are assigned.
func open(ctx context.Context, db database, resources, kinds int) (*stock, error) {
	p, tidy, end, err := db.open(ctx)
	if err != nil {
		return nil, err
	}
	s := &stock{owner: p, end: end, kinds: kinds, free: resources / 2}
	each := resources / kinds
	for kind := 0; kind < kinds && err == nil; kind++ {
		err = errors.Join(s.restock(ctx, kind, each), s.assignSome(ctx, kind, each/2))
	}
	if err == nil {
		err = tidy(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return s, nil
}

const portion = 20_000

func (s *stock) restock(ctx context.Context, kind, n int) error {
	for from := 0; from < n; from += portion {
		ids := make([]string, min(portion, n-from))
		for i := range ids {
			ids[i] = fmt.Sprintf("packet-%d-%d", kind, from+i)
		}
		if err := s.Restock(ctx, kindOf(kind), ids...); err != nil {
			return err
		}
	}
	return nil
}

func (s *stock) assignSome(ctx context.Context, kind, n int) error {
	for left := n; left > 0; left -= pool.MaxCount {
		key, _ := s.newKey()
		if _, err := s.Reserve(ctx, request(key, kind, min(left, pool.MaxCount), time.Hour)); err != nil {
			return err
		}
		if err := s.Assign(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(n int) string { return fmt.Sprint("kind-", n) }

// newKey returns a key that no other has, and whose neighbours are far from it in an
// index; and its number.
func (s *stock) newKey() (twophase.Key, int) {
	n := s.next.Add(1)
	return twophase.Key{Transaction: fmt.Sprintf("order-%016x", uint64(n)*0x9e3779b97f4a7c15), Step: "store"}, int(n)
}

func request(key twophase.Key, kind, count int, hold time.Duration) twophase.Request {
	payload, _ := json.Marshal(pool.Want{Kind: kindOf(kind), Count: count}) // it is a string and a number
	return twophase.Request{Key: key, Payload: payload, Hold: hold}
}

// measured is what came of a series.
type measured struct {
	took    time.Duration
	lengths []time.Duration
	refused float64 // of those who asked, for each that was not, or a second
	others  float64 // a second
}

// rate returns how many there were a second.
func (m measured) rate() float64 { return float64(len(m.lengths)) / m.took.Seconds() }

// milliseconds returns the length that a share p of all does not exceed.
func (m measured) milliseconds(p float64) float64 {
	if len(m.lengths) == 0 {
		return 0
	}
	slices.Sort(m.lengths)
	rank := int(math.Ceil(p * float64(len(m.lengths))))
	return float64(m.lengths[max(rank, 1)-1]) / float64(time.Millisecond)
}

// pairs has callers reserve and assign one resource after the other. When half of
// what was free is taken it is released, and that is not counted.
func (s *stock) pairs(ctx context.Context, callers int, d time.Duration) (measured, error) {
	var m measured
	_, err := s.stretch(ctx, callers, d/10) // to warm up
	for err == nil && m.took < d {
		var more measured
		more, err = s.stretch(ctx, callers, d-m.took)
		m.took += more.took
		m.lengths = append(m.lengths, more.lengths...)
	}
	return m, err
}

// stretch does pairs until half of what was free is taken, and releases that.
func (s *stock) stretch(ctx context.Context, callers int, d time.Duration) (measured, error) {
	keys := make(chan twophase.Key, max(1, s.free/2))
	var begun atomic.Int64
	m, err := drive(ctx, callers, d, func(ctx context.Context) error {
		if begun.Add(1) > int64(cap(keys)) {
			return errEnough
		}
		_, err := s.pair(ctx, keys)
		return err
	})
	close(keys)
	for more := true; more; {
		some := make([]twophase.Key, 0, lot)
		some, more = gather(some, keys, nil)
		err = errors.Join(err, s.releaseAll(ctx, some))
	}
	return m, err
}

// pair reserves and assigns one resource, sends its key, and returns how often it was
// refused before.
func (s *stock) pair(ctx context.Context, keys chan<- twophase.Key) (refused int64, err error) {
	key, n := s.newKey()
	for {
		_, err = s.Reserve(ctx, request(key, n%s.kinds, 1, time.Minute))
		if !errors.Is(err, twophase.ErrRefused) {
			break
		}
		refused++
	}
	if err != nil {
		return refused, err
	}
	err = s.Assign(ctx, key)
	keys <- key
	return refused, err
}

// pairsWhileOthersRelease has callers do pairs while others release what they got,
// some at a time.
func (s *stock) pairsWhileOthersRelease(ctx context.Context, callers int, d time.Duration) (measured, error) {
	keys, released := s.releaseBehind(ctx, min(s.free/4, 512))
	var refused atomic.Int64
	m, err := drive(ctx, callers, d, func(ctx context.Context) error {
		n, err := s.pair(ctx, keys)
		refused.Add(n)
		return err
	})
	close(keys)
	m.refused = float64(refused.Load()) / float64(max(1, len(m.lengths)))
	return m, errors.Join(err, released())
}

// A lot of keys is released at a time, or what has come after lotTime: those who want
// what it holds may be the only ones left.
const (
	lot     = 64
	lotTime = 5 * time.Millisecond
)

// releaseBehind releases the keys that it is sent, a lot at a time.
func (s *stock) releaseBehind(ctx context.Context, room int) (keys chan twophase.Key, done func() error) {
	keys = make(chan twophase.Key, room)
	ended := make(chan error, 1)
	go func() {
		late := time.NewTicker(lotTime)
		defer late.Stop()
		var errs []error
		some := make([]twophase.Key, 0, min(lot, max(1, room)))
		for more := true; more; {
			some, more = gather(some[:0], keys, late.C)
			errs = append(errs, s.releaseAll(ctx, some))
		}
		ended <- errors.Join(errs...)
	}()
	return keys, func() error { return <-ended }
}

// gather fills some with keys, until late. It reports whether there will be more.
func gather(some []twophase.Key, keys <-chan twophase.Key, late <-chan time.Time) ([]twophase.Key, bool) {
	for len(some) < cap(some) {
		select {
		case key, more := <-keys:
			if !more {
				return some, false
			}
			some = append(some, key)
		case <-late:
			return some, true
		}
	}
	return some, true
}

func (s *stock) releaseAll(ctx context.Context, keys []twophase.Key) error {
	errs := make([]error, len(keys))
	var all sync.WaitGroup
	for i, key := range keys {
		all.Go(func() { errs[i] = s.Release(ctx, key) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// errEnough says that there is nothing left to do.
var errEnough = errors.New("enough")

// drive has callers do something again and again until there is nothing left to do,
// and says how often a second.
func drive(ctx context.Context, callers int, d time.Duration, do func(context.Context) error) (measured, error) {
	lengths, errs := make([][]time.Duration, callers), make([]error, callers)
	var all sync.WaitGroup
	start := time.Now()
	for i := range callers {
		all.Go(func() {
			for begun := time.Now(); begun.Sub(start) < d; {
				if err := do(ctx); err != nil {
					if !errors.Is(err, errEnough) {
						errs[i] = err
					}
					return
				}
				now := time.Now()
				lengths[i] = append(lengths[i], now.Sub(begun))
				begun = now
			}
		})
	}
	all.Wait()
	m := measured{took: time.Since(start), lengths: slices.Concat(lengths...)}
	return m, errors.Join(errs...)
}

// soldOutStock is how many resources there were, and are taken just before.
const soldOutStock = 20_000

// openSoldOut returns a pool of which everything was taken one by one just now.
func openSoldOut(ctx context.Context, db database) (*stock, error) {
	p, tidy, end, err := db.open(ctx)
	if err != nil {
		return nil, err
	}
	s := &stock{owner: p, end: end, kinds: 1}
	if err = s.restock(ctx, 0, soldOutStock); err == nil {
		err = tidy(ctx)
	}
	var left atomic.Int64
	left.Store(soldOutStock)
	errs := make([]error, 64)
	var takers sync.WaitGroup
	for i := range errs {
		takers.Go(func() {
			for left.Add(-1) >= 0 && errs[i] == nil {
				key, _ := s.newKey()
				_, errs[i] = s.Reserve(ctx, request(key, 0, 1, time.Hour))
			}
		})
	}
	takers.Wait()
	if err = errors.Join(err, errors.Join(errs...)); err != nil {
		return nil, errors.Join(err, end())
	}
	return s, nil
}

// refusals has callers ask for what there is nothing of, while so many resources come
// back again and again: half of those run out, half are released, and others take
// them.
func (s *stock) refusals(ctx context.Context, callers, coming int, d time.Duration) (measured, error) {
	const hold = 50 * time.Millisecond
	ids := make([]string, coming)
	for i := range ids {
		ids[i] = fmt.Sprintf("coming-%d-%d", s.next.Load(), i)
	}
	if err := s.Restock(ctx, kindOf(0), ids...); err != nil {
		return measured{}, err
	}
	var refused, given atomic.Int64
	m, err := drive(ctx, callers, d, func(ctx context.Context) error {
		key, _ := s.newKey()
		_, err := s.Reserve(ctx, request(key, 0, 1, hold))
		switch {
		case errors.Is(err, twophase.ErrRefused):
			refused.Add(1)
			return nil
		case err != nil:
			return err
		}
		if given.Add(1)%2 == 0 {
			return nil // it runs out
		}
		return s.Release(ctx, key)
	})
	m.refused, m.others = float64(refused.Load())/m.took.Seconds(), float64(given.Load())/m.took.Seconds()
	return m, err
}
