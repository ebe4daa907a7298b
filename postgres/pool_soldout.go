package postgres

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// soldOut remembers of kinds that nothing of them was free, and at which moment: so
// that they are refused without looking again at what has been free before. What has
// been freed since, by anybody, or has run out, is looked for each time.
type soldOut struct {
	mu    sync.Mutex
	kinds map[string]rememberedEmpty
}

// seenEmpty is a moment at which nothing of a kind was free, and nothing had run out.
type seenEmpty struct {
	since string    // xid8: all earlier transactions were over
	at    time.Time // on the database's clock
}

type rememberedEmpty struct {
	seenEmpty
	until time.Time // on our clock
}

const (
	// trustEmpty is for how long a look at everything is built upon. It would be right
	// for ever, if the database never became another one, with a count of transactions
	// of its own, and its clock were never set.
	trustEmpty = time.Second
	// maxSoldOut bounds how many kinds are remembered: anybody may ask for any.
	maxSoldOut = 10_000
)

// when returns when the kinds that a round wants were seen empty, if that is known.
func (s *soldOut) when(round []*taking) map[string]*seenEmpty {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kinds) == 0 {
		return nil
	}
	now, all := time.Now(), map[string]*seenEmpty{}
	for _, t := range round {
		remembered, ok := s.kinds[t.query.Kind]
		switch {
		case ok && now.After(remembered.until):
			delete(s.kinds, t.query.Kind)
		case ok && all[t.query.Kind] == nil:
			all[t.query.Kind] = &remembered.seenEmpty
		}
	}
	return all
}

// saw remembers a moment at which a kind was empty, by a look at everything or by one
// at what was freed since another such moment.
func (s *soldOut) saw(kind string, seen seenEmpty, everything bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	remembered, ok := s.kinds[kind]
	switch {
	case everything:
		remembered.until = time.Now().Add(trustEmpty)
	case !ok:
		return
	}
	if s.kinds == nil || !ok && len(s.kinds) >= maxSoldOut {
		s.kinds = map[string]rememberedEmpty{}
	}
	remembered.seenEmpty = seen
	s.kinds[kind] = remembered
}

// orEverything returns from where on to look: without a moment, from the beginning.
func (seen *seenEmpty) orEverything() (since string, at time.Time) {
	if seen == nil {
		return "0", time.Unix(0, 0)
	}
	return seen.since, seen.at
}

// queueProbe queues the question whether there is again something of kinds that were
// seen empty. The answer is in known, in open, or in neither: then who asks is refused.
func (p *Pool) queueProbe(queue *pgx.Batch, round []*taking) {
	if len(round) == 0 {
		return
	}
	transactions, steps := make([]string, len(round)), make([]string, len(round))
	var kinds, sinces []string
	var ats []time.Time
	asking := map[string][]*taking{}
	for i, t := range round {
		t.reset()
		transactions[i], steps[i] = t.key.Transaction, t.key.Step
		if asking[t.query.Kind] == nil {
			kinds, sinces, ats = append(kinds, t.query.Kind), append(sinces, t.seen.since), append(ats, t.seen.at)
		}
		asking[t.query.Kind] = append(asking[t.query.Kind], t)
	}
	queue.Queue(p.taking.probe, p.participant, transactions, steps, kinds, sinces, ats).Query(func(rows pgx.Rows) error {
		var n int64
		var known, open bool
		var since *string
		var at *time.Time
		_, err := pgx.ForEachRow(rows, []any{&n, &known, &open, &since, &at}, func() error {
			if known {
				round[n-1].known = true
				return nil
			}
			kind := kinds[n-1]
			for _, t := range asking[kind] {
				t.open = open
			}
			if !open {
				p.soldOut.saw(kind, seenEmpty{*since, *at}, false)
			}
			return nil
		})
		return err
	})
}

// probe tells which of the keys are known, and for each kind whether anything may be
// had, by one snapshot. Nothing was free when those transactions were over that have
// freed what the index has before: it is read from there on.
const probe = `WITH clock AS MATERIALIZED (
	SELECT pg_snapshot_xmin(pg_current_snapshot()) AS since, CLOCK AS now
)
SELECT asked.n, true, false, NULL::text, NULL::timestamptz
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (transaction, step, n)
WHERE (
	SELECT true FROM RESERVATIONS AS e
	WHERE e.participant = $1::bigint AND e.transaction = asked.transaction AND e.step = asked.step
) IS NOT NULL
UNION ALL
SELECT seen.n, false, coalesce((
	SELECT true FROM RESOURCES AS resource
	WHERE resource.participant = $1::bigint AND resource.kind = seen.kind AND resource.transaction IS NULL
		AND resource.freed >= seen.since::xid8
	ORDER BY resource.freed LIMIT 1
), (
	SELECT true FROM RESERVATIONS AS e
	WHERE e.participant = $1::bigint AND e.kind = seen.kind AND e.state = 1
		AND e.expires_at > seen.at - interval '1 second' AND e.expires_at <= clock.now
	ORDER BY e.expires_at LIMIT 1
), clock.since < seen.since::xid8 OR clock.now < seen.at), clock.since::text, clock.now
FROM unnest($4::text[], $5::text[], $6::timestamptz[]) WITH ORDINALITY AS seen (kind, since, at, n), clock`
