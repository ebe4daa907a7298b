package postgres

import "strings"

// fenceStatements are those of a fence. Planned each time, they are right whatever
// size the table has; the author's statements keep the plans that they have.
type fenceStatements struct {
	make, load, fill, store            string
	due, lockDue, anyDue, expiredSince string
}

func newFenceStatements(names *strings.Replacer) fenceStatements {
	named := func(sql string) string { return names.Replace(strings.ReplaceAll(sql, "LOADED", loaded)) }
	return fenceStatements{
		make: named(makeEntry), load: named(loadEntry), fill: named(fillEntry), store: named(storeEntry),
		due: named(dueEntries), lockDue: named(lockDueEntries),
		anyDue: named(anyDue), expiredSince: named(expiredSince),
	}
}

// makeEntry reads the clock, of what it finds, after that is locked.
const makeEntry = `WITH made AS (
	INSERT INTO RESERVATIONS AS entry (participant, transaction, step, state, fingerprint, expires_at, finished_at)
	SELECT $1::bigint, $2::text, $3::text, $4::bigint, $5::bytea, clock.now + $6::bigint * interval '1 microsecond',
		CASE WHEN $4::bigint > 2 THEN clock.now END
	FROM (SELECT CLOCK AS now) AS clock
	ON CONFLICT DO NOTHING
	RETURNING 1 AS made, LOADED
), found AS MATERIALIZED (
	SELECT 0 AS made, LOADED FROM RESERVATIONS AS entry
	WHERE entry.participant = $1::bigint AND entry.transaction = $2::text AND entry.step = $3::text
	FOR UPDATE
)
SELECT made.*, CLOCK FROM made UNION ALL SELECT found.*, CLOCK FROM found`

const loadEntry = `WITH found AS MATERIALIZED (
	SELECT 0 AS made, LOADED FROM RESERVATIONS AS entry
	WHERE entry.participant = $1::bigint AND entry.transaction = $2::text AND entry.step = $3::text
	FOR UPDATE
)
SELECT found.*, CLOCK FROM found`

const fillEntry = `UPDATE RESERVATIONS SET resources = $4::text[], details = $5::text
WHERE participant = $1::bigint AND transaction = $2::text AND step = $3::text
RETURNING CLOCK`

const storeEntry = `UPDATE RESERVATIONS SET state = $4::bigint, finished_at = CASE WHEN $5::boolean THEN CLOCK END
WHERE participant = $1::bigint AND transaction = $2::text AND step = $3::text`

const dueEntries = `SELECT transaction, step FROM RESERVATIONS
WHERE participant = $1::bigint AND state = 1 AND expires_at <= (SELECT CLOCK)
ORDER BY expires_at LIMIT $2::bigint`

const lockDueEntries = `WITH found AS MATERIALIZED (
	SELECT 0 AS made, LOADED FROM RESERVATIONS AS entry
	WHERE entry.participant = $1::bigint AND entry.state = 1 AND entry.expires_at <= (SELECT CLOCK)
	ORDER BY entry.expires_at LIMIT $2::bigint
	FOR UPDATE SKIP LOCKED
)
SELECT found.*, CLOCK FROM found`

const anyDue = `SELECT EXISTS (
	SELECT 1 FROM RESERVATIONS WHERE participant = $1::bigint AND state = 1 AND expires_at <= (SELECT CLOCK)
)`

// expiredSince does not count what finished in the future: the clock was put back.
const expiredSince = `SELECT EXISTS (
	SELECT 1 FROM RESERVATIONS
	WHERE participant = $1::bigint AND state = 4 AND finished_at >= $2::timestamptz AND finished_at <= (SELECT CLOCK)
)`
