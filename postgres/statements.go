package postgres

import "strings"

// statements are the journal's, for the schema that its table is in. All that
// many callers may share take arrays, one element for each of them, in the order
// of the ids: two batches that meet lock their rows in the same order.
type statements struct {
	begin, decide, release, yield      string
	beginOne, decideOne                string
	read, claim, renew, list, listOpen string
	prune                              string
}

func newStatements(schema string) statements {
	table := qualified(schema, "twophase_transactions")
	named := func(sql string) string {
		return strings.NewReplacer("TABLE", table, "COLUMNS", columns).Replace(sql)
	}
	return statements{
		begin: named(begin), decide: named(decide), release: named(release), yield: named(yield),
		beginOne: named(beginOne), decideOne: named(decideOne),
		read: named(read), claim: named(claim), renew: named(renew), list: named(list), listOpen: named(listOpen),
		prune: named(prune),
	}
}

// durable makes a commit that is acknowledged durable, whatever the session's
// default is.
const durable = `set_config('synchronous_commit', CASE current_setting('synchronous_commit')
	WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`

// prelude begins a transaction. What it sets ends with it, so a pooler may hand
// the connection on. Statements are planned for the table as it is now: a plan
// that is kept from when it was small scans it from end to end when it has grown.
const prelude = `SELECT ` + durable + `, set_config('plan_cache_mode', 'force_custom_plan', true)`

// preludeAlone begins a transaction of one beginOne, or of one decideOne. Their plans
// are kept, for planning would take longer than doing: beginOne reads no table, and
// decideOne goes by the index if it may not scan.
const preludeAlone = `SELECT ` + durable + `, set_config('plan_cache_mode', 'force_generic_plan', true),
	set_config('enable_seqscan', 'off', true)`

const begin = `INSERT INTO TABLE (id, version, steps, state, decision, ends_if_assigned, ends_if_releasing,
	owner, begun_at, deadline, leased_until, finished_at)
SELECT a.id, a.version, a.steps, a.state, a.decision, a.ends_if_assigned, a.ends_if_releasing,
	a.owner, clock.now, clock.now + a.deadline * interval '1 microsecond', clock.now + a.lease * interval '1 microsecond',
	CASE WHEN a.finished THEN clock.now END
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::boolean[], $7::boolean[],
		$8::text[], $9::bigint[], $10::bigint[], $11::boolean[])
	AS a (id, version, steps, state, decision, ends_if_assigned, ends_if_releasing, owner, deadline, lease, finished),
	(SELECT clock_timestamp() AS now) AS clock
ON CONFLICT (id) DO NOTHING
RETURNING id`

// beginOne is begin of a record alone, whose caller feels what arrays cost the
// server.
const beginOne = `INSERT INTO TABLE (id, version, steps, state, decision, ends_if_assigned, ends_if_releasing,
	owner, begun_at, deadline, leased_until, finished_at)
SELECT $1::text, $2::bigint, $3::text, $4::bigint, $5::text, $6::boolean, $7::boolean,
	$8::text, clock.now, clock.now + $9::bigint * interval '1 microsecond', clock.now + $10::bigint * interval '1 microsecond',
	CASE WHEN $11::boolean THEN clock.now END
FROM (SELECT clock_timestamp() AS now) AS clock
ON CONFLICT (id) DO NOTHING
RETURNING id`

const decide = `UPDATE TABLE AS t
SET state = a.state, decision = a.decision,
	finished_at = CASE
		WHEN a.state = 2 AND t.ends_if_assigned THEN clock_timestamp()
		WHEN a.state = 3 AND t.ends_if_releasing THEN clock_timestamp()
	END
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS a (id, state, decision)
WHERE t.id = a.id AND t.state = 1
RETURNING t.id`

const decideOne = `UPDATE TABLE AS t
SET state = $2::bigint, decision = $3::text,
	finished_at = CASE
		WHEN $2::bigint = 2 AND t.ends_if_assigned THEN clock_timestamp()
		WHEN $2::bigint = 3 AND t.ends_if_releasing THEN clock_timestamp()
	END
WHERE t.id = $1::text AND t.state = 1
RETURNING t.id`

// release stores what was worked out from the row that was read, if nobody has
// acknowledged anything meanwhile.
const release = `UPDATE TABLE AS t
SET state = a.state, released = a.released,
	finished_at = CASE WHEN a.finished THEN coalesce(t.finished_at, clock_timestamp()) END
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::boolean[], $5::text[])
	AS a (id, state, released, finished, read)
WHERE t.id = a.id AND t.released = a.read
RETURNING t.id`

const yield = `UPDATE TABLE AS t
SET owner = '', attempts = t.attempts + 1, trouble = a.trouble,
	leased_until = clock_timestamp() + a.delay * interval '1 microsecond'
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[]) AS a (id, owner, epoch, delay, trouble)
WHERE t.id = a.id AND t.owner = a.owner AND t.epoch = a.epoch AND t.finished_at IS NULL
RETURNING t.id`

const read = `SELECT COLUMNS FROM TABLE WHERE id = ANY ($1::text[])`

// claim locks before it writes: a plan may run what is not materialised more
// than once, and claim more than its limit. The clock is in a subquery so that
// the index is read no further than it.
const claim = `WITH due AS MATERIALIZED (
	SELECT id, leased_until AS since FROM TABLE
	WHERE finished_at IS NULL AND leased_until <= (SELECT clock_timestamp())
	ORDER BY leased_until LIMIT $1::bigint
	FOR UPDATE SKIP LOCKED
), claimed AS (
	UPDATE TABLE AS t
	SET owner = $2::text, epoch = t.epoch + 1, leased_until = clock_timestamp() + $3::bigint * interval '1 microsecond'
	FROM due WHERE t.id = due.id
	RETURNING t.*, due.since
)
SELECT COLUMNS FROM claimed ORDER BY since`

const renew = `UPDATE TABLE
SET leased_until = clock_timestamp() + $3::bigint * interval '1 microsecond'
WHERE id = ANY ($1::text[]) AND owner = $2::text AND finished_at IS NULL`

// list reads a page of everything, oldest first, after the row that was read
// last.
const list = `SELECT COLUMNS FROM TABLE
WHERE (begun_at, id) > ($1::timestamptz, $2::text) AND ($3::bigint = 0 OR state = $3::bigint)
ORDER BY begun_at, id LIMIT $4::bigint`

// listOpen reads a page of what is unfinished. It looks at nothing else, however
// much has finished.
const listOpen = `WITH open AS MATERIALIZED (
	SELECT id, begun_at FROM TABLE
	WHERE finished_at IS NULL AND ($3::bigint = 0 OR state = $3::bigint) AND (NOT $5::boolean OR attempts > 0)
), page AS MATERIALIZED (
	SELECT id FROM open WHERE (begun_at, id) > ($1::timestamptz, $2::text) ORDER BY begun_at, id LIMIT $4::bigint
)
SELECT COLUMNS FROM TABLE WHERE id IN (SELECT id FROM page) ORDER BY begun_at, id`

// prune removes what is over. What is not, among what began so long ago, is
// little.
const prune = `WITH clock AS MATERIALIZED (
	SELECT clock_timestamp() - $1::bigint * interval '1 microsecond' AS since
), old AS MATERIALIZED (
	SELECT id FROM TABLE
	WHERE begun_at < (SELECT since FROM clock) AND finished_at < (SELECT since FROM clock)
	ORDER BY begun_at, id LIMIT $2::bigint
	FOR UPDATE SKIP LOCKED
)
DELETE FROM TABLE AS t USING old WHERE t.id = old.id`
