package postgres

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-bcc3c603/twophase"
)

// What nearly every call comes to has a statement that does that and nothing else: a
// Reserve of a new key takes one resource, and there is one; an Assign finds what is
// reserved. What is left is for the statements that know everything.

// queueQuickly queues the taking of one resource for each of a round, from a random
// place on. Who is left without is not taken, for whatever reason.
func (p *Pool) queueQuickly(queue *pgx.Batch, round []*taking) {
	if len(round) == 0 {
		return
	}
	slices.SortStableFunc(round, func(a, b *taking) int {
		return cmp.Or(cmp.Compare(a.query.Kind, b.query.Kind), compareKeys(a.key, b.key))
	})
	transactions, steps := make([]string, len(round)), make([]string, len(round))
	fingerprints, holds := make([][]byte, len(round)), make([]int64, len(round))
	var kinds []string
	var firsts, counts []int64
	byKey := make(map[twophase.Key]*taking, len(round))
	for i, t := range round {
		t.reset()
		byKey[t.key] = t
		transactions[i], steps[i], fingerprints[i], holds[i] = t.key.Transaction, t.key.Step, t.fingerprint[:], t.hold.Microseconds()
		if i == 0 || t.query.Kind != round[i-1].query.Kind {
			kinds, firsts, counts = append(kinds, t.query.Kind), append(firsts, int64(i)), append(counts, 0)
		}
		counts[len(counts)-1]++
	}
	queue.Queue(p.taking.quick, p.participant, transactions, steps, fingerprints, holds, kinds, firsts, counts, randomSlot()).
		Query(func(rows pgx.Rows) error {
			var e storedEntry
			_, err := pgx.ForEachRow(rows, []any{&e.key.Transaction, &e.key.Step, &e.resources, &e.details, &e.Expires}, func() error {
				t := byKey[e.key]
				t.taken, t.entry = true, t.entryOf(e.resources, e.details, e.Expires.Add(-t.hold.Truncate(time.Microsecond)))
				e.resources, e.details = nil, nil
				return nil
			})
			return err
		})
}

// takeQuickly takes one resource for each of the keys, which come by kind.
const takeQuickly = `WITH given AS MATERIALIZED (
	SELECT wanted.kind, wanted.first + free.nth AS n, free.id, free.attributes, CLOCK AS now
	FROM unnest($6::text[], $7::bigint[], $8::bigint[]) AS wanted (kind, first, count), LATERAL (
		SELECT found.*, row_number() OVER () AS nth FROM (
			SELECT id, attributes FROM RESOURCES AS resource
			WHERE resource.participant = $1::bigint AND resource.kind = wanted.kind
				AND resource.transaction IS NULL AND resource.slot >= $9::bigint::integer
			ORDER BY resource.slot LIMIT wanted.count
			FOR UPDATE SKIP LOCKED
		) AS found
	) AS free
), kept AS (
	INSERT INTO RESERVATIONS AS e (participant, transaction, step, state, fingerprint, kind, resources, details, expires_at)
	SELECT $1::bigint, ($2::text[])[n], ($3::text[])[n], 1, ($4::bytea[])[n], kind, ARRAY[id],
		CASE WHEN attributes IS NOT NULL THEN jsonb_build_array(attributes)::text END,
		now + ($5::bigint[])[n] * interval '1 microsecond'
	FROM given
	ON CONFLICT DO NOTHING
	RETURNING transaction, step, resources, details, expires_at
), taking AS MATERIALIZED (
	SELECT array_agg(resources[1]) AS ids, array_agg(transaction) AS transactions, array_agg(step) AS steps FROM kept
), taken AS (
	UPDATE RESOURCES AS r
	SET transaction = ((SELECT transactions FROM taking))[array_position((SELECT ids FROM taking), r.id)],
		step = ((SELECT steps FROM taking))[array_position((SELECT ids FROM taking), r.id)]
	WHERE r.participant + 0 = $1::bigint AND r.id = ANY ((SELECT ids FROM taking)::text[])
)
SELECT transaction, step, resources, details, expires_at FROM kept`

// takeOne takes one resource for a caller alone, if it can be had quickly.
func (p *Pool) takeOne(ctx context.Context, t *taking) error {
	return p.transactAfter(ctx, preludeAlone, func(queue *pgx.Batch) {
		t.reset()
		queue.Queue(p.taking.one, p.participant, t.query.Kind, randomSlot(),
			t.key.Transaction, t.key.Step, t.fingerprint[:], t.hold.Microseconds(),
		).Query(func(rows pgx.Rows) error {
			var resources []string
			var details *string
			var expires time.Time
			_, err := pgx.ForEachRow(rows, []any{&resources, &details, &expires}, func() error {
				t.taken, t.entry = true, t.entryOf(resources, details, expires.Add(-t.hold.Truncate(time.Microsecond)))
				return nil
			})
			return err
		})
	})
}

// takeOne is takeQuickly for one key, whose caller feels what arrays cost the server.
const takeOne = `WITH found AS MATERIALIZED (
	SELECT id, attributes FROM RESOURCES AS resource
	WHERE resource.participant = $1::bigint AND resource.kind = $2::text
		AND resource.transaction IS NULL AND resource.slot >= $3::bigint::integer
	ORDER BY resource.slot LIMIT 1
	FOR UPDATE SKIP LOCKED
), kept AS (
	INSERT INTO RESERVATIONS AS e (participant, transaction, step, state, fingerprint, kind, resources, details, expires_at)
	SELECT $1::bigint, $4::text, $5::text, 1, $6::bytea, $2::text, ARRAY[id],
		CASE WHEN attributes IS NOT NULL THEN jsonb_build_array(attributes)::text END,
		CLOCK + $7::bigint * interval '1 microsecond'
	FROM found
	ON CONFLICT DO NOTHING
	RETURNING resources, details, expires_at
), taken AS (
	UPDATE RESOURCES AS r SET transaction = $4::text, step = $5::text
	WHERE r.participant + 0 = $1::bigint AND r.id = (SELECT resources[1] FROM kept)
)
SELECT resources, details, expires_at FROM kept`

// assignAll assigns a batch of any keys.
func (p *Pool) assignAll(ctx context.Context, batch []*asked) error {
	var left []*asked
	for _, round := range rounds(batch, func(a *asked) twophase.Key { return a.key }) {
		some, err := p.assignQuickly(ctx, round)
		for _, a := range round {
			a.err = err
		}
		left = append(left, some...)
	}
	if len(left) == 0 {
		return nil
	}
	return p.answerAll(ctx, left)
}

// assignQuickly assigns what is reserved, on different keys, and returns those calls
// that come to anything else than to change nothing.
func (p *Pool) assignQuickly(ctx context.Context, round []*asked) (left []*asked, err error) {
	transactions, steps := make([]string, len(round)), make([]string, len(round))
	for i, a := range round {
		transactions[i], steps[i] = a.key.Transaction, a.key.Step
	}
	prelude, sql, args := entryPrelude, p.sql.assign, []any{p.participant, transactions, steps}
	if len(round) == 1 {
		prelude, sql, args = preludeAlone, p.sql.assignOne, []any{p.participant, transactions[0], steps[0]}
	}
	err = p.transactAfter(ctx, prelude, func(queue *pgx.Batch) {
		queue.Queue(sql, args...).Query(func(rows pgx.Rows) error {
			for _, a := range round {
				a.found = false
			}
			var n, state int64
			e := storedEntry{}
			_, err := pgx.ForEachRow(rows, []any{&n, &state, &e.Expires, &e.now}, func() error {
				a := round[n-1]
				e.key, e.State = a.key, twophase.EntryState(state)
				a.found, a.entry, a.verdict = true, e, e.Assign(e.now)
				return nil
			})
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	for _, a := range round {
		if a.found && a.verdict.Free {
			left = append(left, a)
		}
	}
	return left, nil
}

// assignQuickly stores the verdicts on an Assign that give nothing back.
const assignQuickly = `WITH locked AS MATERIALIZED (
	SELECT asked.n, entry.transaction, entry.step, entry.state, entry.expires_at, CALL AS call, 0 AS origin
	FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (transaction, step, n), LATERAL (
		SELECT * FROM RESERVATIONS AS e
		WHERE e.participant = $1::bigint AND e.transaction = asked.transaction AND e.step = asked.step
		FOR UPDATE
	) AS entry
), ruled AS MATERIALIZED (
	SELECT timed.*, (RULES)[RULE_INDEX] AS rule FROM (SELECT locked.*, CLOCK AS now FROM locked OFFSET 0) AS timed
), changing AS MATERIALIZED (
	SELECT array_agg(transaction) AS transactions, array_agg(KEY(ruled)) AS keys FROM ruled WHERE rule = ASSIGNED
), stored AS (
	UPDATE RESERVATIONS AS e SET state = ASSIGNED
	WHERE e.participant + 0 = $1::bigint AND e.transaction = ANY ((SELECT transactions FROM changing)::text[])
		AND KEY(e) = ANY ((SELECT keys FROM changing)::text[])
)
SELECT n, state, expires_at, now FROM ruled`

// assignOne is assignQuickly for one key.
const assignOne = `WITH locked AS MATERIALIZED (
	SELECT entry.state, entry.expires_at, CALL AS call, 0 AS origin FROM RESERVATIONS AS entry
	WHERE entry.participant = $1::bigint AND entry.transaction = $2::text AND entry.step = $3::text
	FOR UPDATE
), ruled AS MATERIALIZED (
	SELECT timed.*, (RULES)[RULE_INDEX] AS rule FROM (SELECT locked.*, CLOCK AS now FROM locked OFFSET 0) AS timed
), stored AS (
	UPDATE RESERVATIONS AS e SET state = ASSIGNED
	WHERE e.participant = $1::bigint AND e.transaction = $2::text AND e.step = $3::text
		AND (SELECT rule FROM ruled) = ASSIGNED
)
SELECT 1::bigint, state, expires_at, now FROM ruled`
