package pool

import (
	"container/heap"
	"time"

	"github.com/seed-bcc3c603/twophase/internal/queue"
)

// expiries are the reservations of one kind, by when they run out.
//
// Those that are held equally long run out in the order in which they were
// made. So each length of hold has a queue, and the queues are in a heap, by
// when their first runs out: what is added or removed costs the logarithm of
// the number of lengths under way, not of the number of reservations.
type expiries struct {
	queues map[time.Duration]*sameHold
	heap   holdHeap
}

// sameHold has reservations of one hold, and is never empty.
type sameHold struct {
	hold    time.Duration
	entries queue.Queue[entry]
	index   int // in the heap
}

// next returns the entry that runs out next, or nil if there is none.
func (x *expiries) next() *entry {
	if len(x.heap) == 0 {
		return nil
	}
	return x.heap[0].entries.First()
}

// add files an entry that was reserved just now.
func (x *expiries) add(e *entry, hold time.Duration) {
	q, ok := x.queues[hold]
	if !ok {
		q = &sameHold{hold: hold}
	}
	q.entries.Add(e, &e.place)
	e.sameHold = q
	if ok {
		return // its first is the same as before
	}
	if x.queues == nil {
		x.queues = map[time.Duration]*sameHold{}
	}
	x.queues[hold] = q
	heap.Push(&x.heap, q)
}

// remove takes out an entry that is no longer reserved.
func (x *expiries) remove(e *entry) {
	q := e.sameHold
	wasFirst := q.entries.First() == e
	e.place.Leave()
	e.sameHold = nil
	switch {
	case q.entries.Len() == 0:
		heap.Remove(&x.heap, q.index)
		delete(x.queues, q.hold)
	case wasFirst:
		heap.Fix(&x.heap, q.index)
	}
}

// holdHeap implements [heap.Interface].
type holdHeap []*sameHold

func (h holdHeap) Len() int { return len(h) }

func (h holdHeap) Less(i, j int) bool {
	return h[i].entries.First().Expires.Before(h[j].entries.First().Expires)
}

func (h holdHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *holdHeap) Push(q any) {
	added := q.(*sameHold)
	added.index = len(*h)
	*h = append(*h, added)
}

func (h *holdHeap) Pop() any {
	last := len(*h) - 1
	popped := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return popped
}
