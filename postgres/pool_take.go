package postgres

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
)

// taking is a Reserve of a key that is taken for new, and what came of it: it was
// taken, the key is known, or there is not enough of what it wants.
type taking struct {
	key         twophase.Key
	fingerprint twophase.Fingerprint
	hold        time.Duration
	query       Query
	seen        *seenEmpty // when there was nothing of the kind, if that is known

	taken     bool
	entry     storedEntry // if taken
	known     bool
	open      bool // if it was asked: there may be something again
	contended bool // if neither: others may yet give back what they have locked
	err       error
}

// reset forgets what came of it.
func (t *taking) reset() {
	t.taken, t.known, t.open, t.contended, t.entry = false, false, false, false, storedEntry{}
}

// entryOf is the entry of a key that was given something.
func (t *taking) entryOf(resources []string, details *string, now time.Time) storedEntry {
	return storedEntry{
		Entry: twophase.Entry{}.Reserve(t.fingerprint, t.hold.Truncate(time.Microsecond), now).Entry,
		key:   t.key, resources: resources, details: details, now: now,
	}
}

// manyResources is how many a request wants that has a transaction of its own: what
// it locks and may not get would be missing for others.
const manyResources = 16

// take takes what t wants, together with others if any resource will do.
func (p *Pool) take(ctx context.Context, t *taking) error {
	if !t.query.plain() || t.query.Count > manyResources {
		return p.takeAlone(ctx, t, false)
	}
	if err := p.takes.Do(ctx, t); err != nil {
		return err
	}
	return t.err
}

// takeAll takes what a batch wants of any keys.
func (p *Pool) takeAll(ctx context.Context, batch []*taking) error {
	for _, round := range rounds(batch, func(t *taking) twophase.Key { return t.key }) {
		if err := p.takeRound(ctx, round); err != nil {
			for _, t := range round {
				t.err = err
			}
		}
	}
	return nil
}

// takeRound first does what is quick, and then for whoever is left what is thorough.
func (p *Pool) takeRound(ctx context.Context, round []*taking) error {
	var empty, single, left []*taking
	seen := p.soldOut.when(round)
	for _, t := range round {
		t.seen = seen[t.query.Kind]
		switch {
		case t.seen != nil:
			empty = append(empty, t)
		case t.query.Count == 1:
			single = append(single, t)
		default:
			left = append(left, t)
		}
	}
	if err := p.takeOrRefuse(ctx, empty, single); err != nil {
		return err
	}
	for _, t := range slices.Concat(empty, single) {
		if t.open || t.seen == nil && !t.taken {
			left = append(left, t)
		}
	}
	return p.takeThoroughly(ctx, left)
}

// takeOrRefuse does what is quick: it asks about what is sold out, and takes one
// resource each.
func (p *Pool) takeOrRefuse(ctx context.Context, empty, single []*taking) error {
	switch {
	case len(empty)+len(single) == 0:
		return nil
	case len(empty) == 0 && len(single) == 1:
		return p.takeOne(ctx, single[0])
	}
	return p.transact(ctx, func(queue *pgx.Batch) {
		p.queueProbe(queue, empty)
		p.queueQuickly(queue, single)
	})
}

// thoroughness is how often to try before those who are left wait by themselves for
// what others have locked.
const thoroughness = 2

// takeThoroughly takes what a round wants of everything that is free or has run out.
func (p *Pool) takeThoroughly(ctx context.Context, round []*taking) error {
	for range thoroughness {
		if len(round) == 0 {
			return nil
		}
		slices.SortFunc(round, func(a, b *taking) int { return compareKeys(a.key, b.key) })
		var full, fresh []*taking
		for _, t := range round {
			if t.seen == nil {
				full = append(full, t)
			} else {
				fresh = append(fresh, t)
			}
		}
		err := p.transact(ctx, func(queue *pgx.Batch) {
			p.queueExpiry(queue, round)
			p.queueTake(queue, p.taking.full, randomSlot(), full)
			p.queueTake(queue, p.taking.fresh, randomSlot(), fresh)
		})
		if err != nil {
			return err
		}
		round = slices.DeleteFunc(round, func(t *taking) bool { return !t.contended || t.taken || t.known })
	}
	return nil
}

// queueExpiry queues the taking back of what has run out of the kinds that a round
// wants, as much as it may need.
func (p *Pool) queueExpiry(queue *pgx.Batch, round []*taking) {
	needed, seen := map[string]int{}, map[string]*seenEmpty{}
	for _, t := range round {
		needed[t.query.Kind] += t.query.Count
		seen[t.query.Kind] = t.seen
	}
	for _, kind := range slices.Sorted(maps.Keys(needed)) {
		_, from := seen[kind].orEverything()
		queue.Queue(p.sql.expireKind, p.participant, kind, int64(max(needed[kind], sweepStep)), from)
	}
}

// takeAlone takes what t wants, of everything that is free or has run out. If it is
// patient, it waits for those who have locked what it could have.
func (p *Pool) takeAlone(ctx context.Context, t *taking, patient bool) error {
	t.seen = nil
	sql := p.taking.of(t.query, patient)
	start := int64(math.MinInt32) // those who wait do so in one order
	if !patient && t.query.OrderBy == "" {
		start = randomSlot()
	}
	return p.transact(ctx, func(queue *pgx.Batch) {
		p.queueExpiry(queue, []*taking{t})
		p.queueTake(queue, sql, start, []*taking{t}, t.query.Args...)
	})
}

// randomSlot is where to begin to look.
func randomSlot() int64 { return int64(int32(rand.Uint32())) }

// queueTake queues the statement that takes what a round wants. The arguments of
// its author come first.
func (p *Pool) queueTake(queue *pgx.Batch, sql string, start int64, round []*taking, args ...any) {
	if len(round) == 0 {
		return
	}
	transactions, steps := make([]string, len(round)), make([]string, len(round))
	fingerprints, kinds := make([][]byte, len(round)), make([]string, len(round))
	counts, holds := make([]int64, len(round)), make([]int64, len(round))
	sinces, ats := make([]string, len(round)), make([]time.Time, len(round))
	for i, t := range round {
		t.reset()
		transactions[i], steps[i], fingerprints[i] = t.key.Transaction, t.key.Step, t.fingerprint[:]
		kinds[i], counts[i], holds[i] = t.query.Kind, int64(t.query.Count), t.hold.Microseconds()
		sinces[i], ats[i] = t.seen.orEverything()
	}
	all := slices.Concat(args,
		[]any{p.participant, transactions, steps, fingerprints, kinds, counts, holds, sinces, ats, start})
	queue.Queue(sql, all...).Query(func(rows pgx.Rows) error { return p.takenInto(rows, round) })
}

// takenInto reads what came of a round. What was given is taken if it was kept: if
// not, somebody else has made an entry of the key meanwhile.
func (p *Pool) takenInto(rows pgx.Rows, round []*taking) error {
	contended := map[string]bool{}
	var what, transaction, step, details *string
	var n int64
	var resources []string
	var now *time.Time
	_, err := pgx.ForEachRow(rows, []any{&what, &n, &transaction, &step, &resources, &details, &now}, func() error {
		switch *what {
		case "known":
			round[n-1].known = true
		case "given":
			t := round[n-1]
			t.known, t.entry = true, t.entryOf(resources, details, *now)
		case "kept":
			i, _ := slices.BinarySearchFunc(round, twophase.Key{Transaction: *transaction, Step: *step},
				func(t *taking, key twophase.Key) int { return compareKeys(t.key, key) })
			round[i].taken = true
		case "contended":
			contended[*transaction] = true
		case "empty":
			if round[0].query.plain() {
				p.soldOut.saw(*transaction, seenEmpty{*details, *now}, round[0].seen == nil)
			}
		}
		return nil
	})
	for _, t := range round {
		if t.known && t.entry.resources != nil && !t.taken {
			contended[t.query.Kind] = true // it goes back
		}
	}
	for _, t := range round {
		t.contended = contended[t.query.Kind]
	}
	return err
}

// takingStatement is the statement that takes, in its forms: from everything that is
// free; of a query, waiting for others or not; or from what was freed since the kind
// was seen empty. The last two are simpler ones.
type takingStatement struct{ text, full, fresh, quick, one, probe string }

func newTakingStatement(names *strings.Replacer) takingStatement {
	s := takingStatement{text: names.Replace(takeFree), quick: names.Replace(takeQuickly), one: names.Replace(takeOne), probe: names.Replace(probe)}
	s.full = s.of(Query{}, false)
	s.fresh = s.form(Query{}, "SKIP LOCKED", strings.NewReplacer(
		"@above", "resource.freed >= needed.since::xid8",
		"@below", "resource.slot < @start::bigint::integer AND false",
		"@place", "resource.freed",
		"@freed", "AND resource.freed >= needed.since::xid8",
	))
	return s
}

// of returns the form for a query. Its own parameters come after the author's.
func (s takingStatement) of(q Query, patient bool) string {
	lock := "SKIP LOCKED"
	if patient {
		lock = ""
	}
	return s.form(q, lock, strings.NewReplacer(
		"@above", "resource.slot >= @start::bigint::integer",
		"@below", "resource.slot < @start::bigint::integer",
		"@place", "resource.slot",
		"@freed", "",
	))
}

func (s takingStatement) form(q Query, lock string, where *strings.Replacer) string {
	condition, order := "", ""
	if q.Where != "" {
		condition = "AND (" + q.Where + "\n)"
	}
	if q.OrderBy != "" {
		order = q.OrderBy + "\n,"
	}
	replaced := []string{"@where", condition, "@order", order, "@lock", lock}
	for i, name := range []string{
		"@participant", "@transactions", "@steps", "@fingerprints", "@kinds", "@counts", "@holds", "@sinces", "@ats", "@start",
	} {
		replaced = append(replaced, name, "$"+strconv.Itoa(len(q.Args)+1+i))
	}
	return strings.NewReplacer(replaced...).Replace(where.Replace(s.text))
}

// takeFree takes what is free for those of the keys that have no entry yet. Each kind
// is looked through once for all who want it, from a random place to its end and then
// from its beginning: those who do so at the same time do not meet, and do not pass
// what others have just taken. Those who want least come first, so that whoever is
// left without can really not be served.
//
// Whoever is short learns whether that is the truth: whether everything that is free
// in the same snapshot was had, and nothing has run out. If there is nothing at all in
// that snapshot, it is told which transactions it has seen the end of. What is
// visible is counted in the order of the index that is to be read for it.
//
// It locks before it writes: a plan may run what is not materialised more than once,
// and take more than is wanted.
const takeFree = `WITH asked AS MATERIALIZED (
	SELECT a.*, (
		SELECT true FROM RESERVATIONS AS e
		WHERE e.participant = @participant::bigint AND e.transaction = a.transaction AND e.step = a.step
	) IS NOT NULL AS known
	FROM unnest(@transactions::text[], @steps::text[], @fingerprints::bytea[], @kinds::text[], @counts::bigint[], @holds::bigint[],
			@sinces::text[], @ats::timestamptz[])
		WITH ORDINALITY AS a (transaction, step, fingerprint, kind, count, hold, since, at, n)
), wanted AS MATERIALIZED (
	SELECT *, (sum(count) OVER (PARTITION BY kind ORDER BY count, n))::integer AS upto FROM asked WHERE NOT known
), needed AS MATERIALIZED (
	SELECT kind, sum(count)::bigint AS count, max(since) AS since, max(at) AS at FROM wanted GROUP BY kind
), above AS MATERIALIZED (
	SELECT needed.kind, free.id, free.attributes FROM needed, LATERAL (
		SELECT id, attributes FROM RESOURCES AS resource
		WHERE resource.participant = @participant::bigint AND resource.kind = needed.kind
			AND resource.transaction IS NULL AND @above @where
		ORDER BY @order @place LIMIT needed.count
		FOR UPDATE @lock
	) AS free
), missing AS MATERIALIZED (
	SELECT needed.kind, needed.count - coalesce(had.count, 0) AS count
	FROM needed LEFT JOIN (SELECT kind, count(*) AS count FROM above GROUP BY kind) AS had ON had.kind = needed.kind
	WHERE needed.count > coalesce(had.count, 0)
), below AS MATERIALIZED (
	SELECT missing.kind, free.id, free.attributes FROM missing, LATERAL (
		SELECT id, attributes FROM RESOURCES AS resource
		WHERE resource.participant = @participant::bigint AND resource.kind = missing.kind
			AND resource.transaction IS NULL AND @below @where
		ORDER BY @order resource.slot LIMIT missing.count
		FOR UPDATE @lock
	) AS free
), picked AS MATERIALIZED (
	SELECT kind, array_agg(id ORDER BY nth) AS ids, array_agg(attributes ORDER BY nth) AS attributes,
		count(attributes) > 0 AS described
	FROM (SELECT *, row_number() OVER () AS nth FROM (SELECT * FROM above UNION ALL SELECT * FROM below) AS a) AS b
	GROUP BY kind
), short AS MATERIALIZED (
	SELECT *, had < visible OR over AS contended FROM (
		SELECT missing.kind, coalesce(cardinality(picked.ids), 0) AS had, (
			SELECT count(*) FROM (
				SELECT 1 FROM RESOURCES AS resource
				WHERE resource.participant = @participant::bigint AND resource.kind = missing.kind
					AND resource.transaction IS NULL @freed @where
				ORDER BY @place LIMIT needed.count
			) AS few
		) AS visible, (
			SELECT true FROM RESERVATIONS AS e
			WHERE e.participant = @participant::bigint AND e.kind = missing.kind AND e.state = 1
				AND e.expires_at > needed.at - interval '1 second' AND e.expires_at <= clock.now
			ORDER BY e.expires_at LIMIT 1
		) IS NOT NULL AS over, clock.*
		FROM missing JOIN needed ON needed.kind = missing.kind LEFT JOIN picked ON picked.kind = missing.kind,
			(SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS since, CLOCK AS now) AS clock
		WHERE needed.count > coalesce(cardinality(picked.ids), 0)
	) AS looked
), given AS MATERIALIZED (
	SELECT wanted.*, picked.ids[upto - count + 1 : upto] AS resources,
		CASE WHEN picked.described
			THEN (SELECT jsonb_agg(a ORDER BY i) FROM unnest(picked.attributes[upto - count + 1 : upto]) WITH ORDINALITY AS d (a, i))::text
		END AS details,
		CLOCK AS now
	FROM wanted JOIN picked ON picked.kind = wanted.kind
	WHERE wanted.upto <= cardinality(picked.ids)
), kept AS (
	INSERT INTO RESERVATIONS (participant, transaction, step, state, fingerprint, kind, resources, details, expires_at)
	SELECT @participant::bigint, transaction, step, 1, fingerprint, kind, resources, details, now + hold * interval '1 microsecond'
	FROM given ORDER BY n
	ON CONFLICT DO NOTHING
	RETURNING transaction, step, resources
), taking AS MATERIALIZED (
	SELECT array_agg(held.id) AS ids, array_agg(transaction) AS transactions, array_agg(step) AS steps
	FROM kept, LATERAL unnest(kept.resources) AS held (id)
), taken AS (
	UPDATE RESOURCES AS r
	SET transaction = ((SELECT transactions FROM taking))[array_position((SELECT ids FROM taking), r.id)],
		step = ((SELECT steps FROM taking))[array_position((SELECT ids FROM taking), r.id)]
	WHERE r.participant + 0 = @participant::bigint AND r.id = ANY ((SELECT ids FROM taking)::text[])
)
SELECT 'known' AS what, n, NULL::text AS transaction, NULL::text AS step, NULL::text[] AS resources, NULL::text AS details, NULL::timestamptz AS now
FROM asked WHERE known
UNION ALL SELECT 'given', n, NULL, NULL, resources, details, now FROM given
UNION ALL SELECT 'kept', 0, transaction, step, NULL, NULL, NULL FROM kept
UNION ALL SELECT 'contended', 0, kind, NULL, NULL, NULL, NULL FROM short WHERE contended
UNION ALL SELECT 'empty', 0, kind, NULL, NULL, since, now FROM short WHERE visible = 0 AND NOT over`
