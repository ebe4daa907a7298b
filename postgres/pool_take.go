package postgres

import (
	"context"
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

	taken     bool
	entry     storedEntry // if taken
	known     bool
	contended bool // if neither: others may yet give back what they have locked
	err       error
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
		sql := p.taking.skipping
		if err := p.transact(ctx, func(queue *pgx.Batch) { p.queueTake(queue, sql, randomSlot(), round) }); err != nil {
			for _, t := range round {
				t.err = err
			}
		}
	}
	return nil
}

// takeAlone takes what t wants, of everything that is free or has run out. If it is
// patient, it waits for those who have locked what it could have.
func (p *Pool) takeAlone(ctx context.Context, t *taking, patient bool) error {
	sql := p.taking.of(t.query, patient)
	start := int64(math.MinInt32) // those who wait do so in one order
	if !patient && t.query.OrderBy == "" {
		start = randomSlot()
	}
	return p.transact(ctx, func(queue *pgx.Batch) {
		queue.Queue(p.sql.expireKind, p.participant, t.query.Kind, int64(max(t.query.Count, sweepStep)))
		p.queueTake(queue, sql, start, []*taking{t}, t.query.Args...)
	})
}

// randomSlot is where to begin to look.
func randomSlot() int64 { return int64(int32(rand.Uint32())) }

// queueTake queues the statement that takes what a round wants. The arguments of
// its author come first.
func (p *Pool) queueTake(queue *pgx.Batch, sql string, start int64, round []*taking, args ...any) {
	transactions, steps := make([]string, len(round)), make([]string, len(round))
	fingerprints, kinds := make([][]byte, len(round)), make([]string, len(round))
	counts, holds := make([]int64, len(round)), make([]int64, len(round))
	for i, t := range round {
		t.taken, t.known, t.contended, t.entry = false, false, false, storedEntry{}
		transactions[i], steps[i], fingerprints[i] = t.key.Transaction, t.key.Step, t.fingerprint[:]
		kinds[i], counts[i], holds[i] = t.query.Kind, int64(t.query.Count), t.hold.Microseconds()
	}
	all := slices.Concat(args,
		[]any{p.participant, transactions, steps, fingerprints, kinds, counts, holds, start})
	queue.Queue(sql, all...).Query(func(rows pgx.Rows) error { return takenInto(rows, round) })
}

// takenInto reads what came of a round. What was given is taken if it was kept: if
// not, somebody else has made an entry of the key meanwhile.
func takenInto(rows pgx.Rows, round []*taking) error {
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
			t.entry = storedEntry{
				Entry: twophase.Entry{}.Reserve(t.fingerprint, t.hold.Truncate(time.Microsecond), *now).Entry,
				key:   t.key, resources: resources, details: details, now: *now,
			}
			t.known = true
		case "kept":
			i, _ := slices.BinarySearchFunc(round, twophase.Key{Transaction: *transaction, Step: *step},
				func(t *taking, key twophase.Key) int { return compareKeys(t.key, key) })
			round[i].taken = true
		case "contended":
			contended[*transaction] = true
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

// takingStatement is the statement that takes, in its forms.
type takingStatement struct{ text, skipping string }

func newTakingStatement(names *strings.Replacer) takingStatement {
	s := takingStatement{text: names.Replace(takeFree)}
	s.skipping = s.of(Query{}, false)
	return s
}

// of returns the form for a query. Its own parameters come after the author's.
func (s takingStatement) of(q Query, patient bool) string {
	where, order, lock := "", "", "SKIP LOCKED"
	if q.Where != "" {
		where = "AND (" + q.Where + "\n)"
	}
	if q.OrderBy != "" {
		order = q.OrderBy + "\n,"
	}
	if patient {
		lock = ""
	}
	replaced := []string{"@where", where, "@order", order, "@lock", lock}
	for i, name := range []string{
		"@participant", "@transactions", "@steps", "@fingerprints", "@kinds", "@counts", "@holds", "@start",
	} {
		replaced = append(replaced, name, "$"+strconv.Itoa(len(q.Args)+1+i))
	}
	return strings.NewReplacer(replaced...).Replace(s.text)
}

// takeFree takes what is free for those of the keys that have no entry yet. Each kind
// is looked through once for all who want it, from a random place to its end and then
// from its beginning: those who do so at the same time do not meet, and do not pass
// what others have just taken. Those who want least come first, so that whoever is
// left without can really not be served.
//
// Whoever is short learns whether that is the truth: whether everything that is free
// in the same snapshot was had, and nothing has run out.
//
// It locks before it writes: a plan may run what is not materialised more than once,
// and take more than is wanted.
const takeFree = `WITH asked AS MATERIALIZED (
	SELECT a.*, EXISTS (
		SELECT 1 FROM RESERVATIONS AS e
		WHERE e.participant = @participant::bigint AND e.transaction = a.transaction AND e.step = a.step
	) AS known
	FROM unnest(@transactions::text[], @steps::text[], @fingerprints::bytea[], @kinds::text[], @counts::bigint[], @holds::bigint[])
		WITH ORDINALITY AS a (transaction, step, fingerprint, kind, count, hold, n)
), wanted AS MATERIALIZED (
	SELECT *, (sum(count) OVER (PARTITION BY kind ORDER BY count, n))::integer AS upto FROM asked WHERE NOT known
), needed AS MATERIALIZED (
	SELECT kind, sum(count)::bigint AS count FROM wanted GROUP BY kind
), above AS MATERIALIZED (
	SELECT needed.kind, free.id, free.attributes FROM needed, LATERAL (
		SELECT id, attributes FROM RESOURCES AS resource
		WHERE resource.participant = @participant::bigint AND resource.kind = needed.kind
			AND resource.transaction IS NULL AND resource.slot >= @start::bigint::integer @where
		ORDER BY @order resource.slot LIMIT needed.count
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
			AND resource.transaction IS NULL AND resource.slot < @start::bigint::integer @where
		ORDER BY @order resource.slot LIMIT missing.count
		FOR UPDATE @lock
	) AS free
), picked AS MATERIALIZED (
	SELECT kind, array_agg(id ORDER BY nth) AS ids, array_agg(attributes ORDER BY nth) AS attributes,
		count(attributes) > 0 AS described
	FROM (SELECT *, row_number() OVER () AS nth FROM (SELECT * FROM above UNION ALL SELECT * FROM below) AS a) AS b
	GROUP BY kind
), short AS MATERIALIZED (
	SELECT missing.kind, coalesce(cardinality(picked.ids), 0) < (SELECT count(*) FROM (
		SELECT 1 FROM RESOURCES AS resource
		WHERE resource.participant = @participant::bigint AND resource.kind = missing.kind
			AND resource.transaction IS NULL @where
		LIMIT needed.count
	) AS visible) OR EXISTS (
		SELECT 1 FROM RESERVATIONS AS e
		WHERE e.participant = @participant::bigint AND e.kind = missing.kind AND e.state = 1 AND e.expires_at <= (SELECT CLOCK)
	) AS contended
	FROM missing JOIN needed ON needed.kind = missing.kind LEFT JOIN picked ON picked.kind = missing.kind
	WHERE needed.count > coalesce(cardinality(picked.ids), 0)
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
UNION ALL SELECT 'contended', 0, kind, NULL, NULL, NULL, NULL FROM short WHERE contended`
