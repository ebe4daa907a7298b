package queue_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed-bcc3c603/twophase/internal/queue"
)

type member struct {
	name  string
	place queue.Place[member]
}

func names(q *queue.Queue[member]) (names string) {
	for m := q.First(); m != nil; m = m.place.Next() {
		names += m.name
	}
	return names
}

func TestQueue(t *testing.T) {
	t.Parallel()
	for want, leaving := range map[string]string{
		"abc": "", "bc": "a", "ac": "b", "ab": "c", "c": "ab", "a": "cb", "": "bac", "b": "acaa",
	} {
		var q queue.Queue[member]
		all := map[rune]*member{}
		for _, name := range "abc" {
			all[name] = &member{name: string(name)}
			q.Add(all[name], &all[name].place)
		}
		for _, name := range leaving {
			all[name].place.Leave()
		}
		assert.Equal(t, want, names(&q), "without %s", leaving)
		assert.Equal(t, len(want), q.Len())
		for name, m := range all {
			assert.Equal(t, !strings.ContainsRune(leaving, name), q.Has(&m.place))
		}
	}
}

func TestAMemberIsInOneQueue(t *testing.T) {
	t.Parallel()
	var first, second queue.Queue[member]
	a, b := &member{name: "a"}, &member{name: "b"}
	assert.Nil(t, first.First())
	first.Add(a, &a.place)
	first.Add(b, &b.place)
	second.Add(a, &a.place)
	assert.Equal(t, "b", names(&first))
	assert.Equal(t, "a", names(&second))
	assert.False(t, first.Has(&a.place))
	second.Add(a, &a.place)
	assert.Equal(t, "a", names(&second), "once")
	assert.Equal(t, 1, second.Len())
}
