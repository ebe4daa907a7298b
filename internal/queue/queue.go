// Package queue is a queue that its members may leave from anywhere, in constant
// time. Members bring their own place, so nothing is allocated.
package queue

// Queue is a queue of the members of type T that have a place in it. The zero value
// is empty. It is not safe for concurrent use.
type Queue[T any] struct {
	first, last *Place[T]
	len         int
}

// Place is where a member is: in one queue at a time, or in none, like the zero
// value.
type Place[T any] struct {
	of         *T
	in         *Queue[T]
	prev, next *Place[T]
}

// Len returns how many members there are.
func (q *Queue[T]) Len() int { return q.len }

// First returns the member who has been there for longest, or nil.
func (q *Queue[T]) First() *T { return q.first.member() }

// Next returns the member who came after the one at p, or nil.
func (p *Place[T]) Next() *T { return p.next.member() }

func (p *Place[T]) member() *T {
	if p == nil {
		return nil
	}
	return p.of
}

// Has reports whether p is a place in q.
func (q *Queue[T]) Has(p *Place[T]) bool { return p.in == q }

// Add puts a member, whose place is p, at the end, from whatever queue it is in.
func (q *Queue[T]) Add(member *T, p *Place[T]) {
	p.Leave()
	p.of, p.in, p.prev = member, q, q.last
	if q.last == nil {
		q.first = p
	} else {
		q.last.next = p
	}
	q.last = p
	q.len++
}

// Leave takes the member at p out of its queue, if it is in one.
func (p *Place[T]) Leave() {
	if p.in == nil {
		return
	}
	if p.prev == nil {
		p.in.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		p.in.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.in.len--
	p.in, p.prev, p.next = nil, nil, nil
}
