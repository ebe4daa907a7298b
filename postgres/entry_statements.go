package postgres

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-bcc3c603/twophase"
)

// entryStatements are those that pools and fences share.
type entryStatements struct {
	register, registered string
	judge, tombstone     string
	assign, assignOne    string
	expireKind, sweep    string
	prune                string
}

func newEntryStatements(names *strings.Replacer) entryStatements {
	named := func(sql string) string {
		return names.Replace(strings.NewReplacer(
			"CALL AS", strconv.Itoa(int(callAssign))+" AS", "ASSIGNED", strconv.Itoa(int(twophase.EntryAssigned)),
			"RULES", rules, "RULE_INDEX", ruleIndex, "ORIGIN", originOf, "LOADED", loaded,
		).Replace(sql))
	}
	ruled := func(sql string) string { return named(withKeys(strings.Replace(sql, "VERDICTS", verdicts, 1))) }
	return entryStatements{
		register: named(register), registered: named(registered),
		judge: ruled(judge), tombstone: named(tombstone), assign: ruled(assignQuickly), assignOne: ruled(assignOne),
		expireKind: ruled(expireKind), sweep: ruled(sweep), prune: named(withKeys(pruneEntries)),
	}
}

const register = `INSERT INTO PARTICIPANTS (name, type) VALUES ($1::text, $2::text) ON CONFLICT DO NOTHING`

const registered = `SELECT id, type FROM PARTICIPANTS WHERE name = $1::text`

// loaded are the columns of an entry that is asked about.
const loaded = `entry.transaction, entry.step, entry.state, entry.fingerprint, entry.expires_at, entry.resources, entry.details`

// judge locks the entries of keys, one by one in the order of the keys, and then
// reads the clock, for each after it is locked. What the rules say is stored. It
// returns the entries as they were: whoever asks knows the answer by them.
const judge = `WITH locked AS MATERIALIZED (
	SELECT asked.n, asked.call, ORIGIN AS origin, LOADED
	FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bytea[])
		WITH ORDINALITY AS asked (transaction, step, call, fingerprint, n),
	LATERAL (
		SELECT * FROM RESERVATIONS AS e
		WHERE e.participant = $1::bigint AND e.transaction = asked.transaction AND e.step = asked.step
		FOR UPDATE
	) AS entry
), VERDICTS`

// expireKind does so for what has run out of one kind since a moment, and is not being
// dealt with by anybody else.
const expireKind = `WITH locked AS MATERIALIZED (
	SELECT 0 AS n, 3 AS call, 0 AS origin, LOADED FROM RESERVATIONS AS entry
	WHERE entry.participant = $1::bigint AND entry.kind = $2::text AND entry.state = 1
		AND entry.expires_at > $4::timestamptz - interval '1 second' AND entry.expires_at <= (SELECT CLOCK)
	ORDER BY entry.expires_at LIMIT $3::bigint
	FOR UPDATE SKIP LOCKED
), VERDICTS`

// sweep does so for what has run out of any kind.
const sweep = `WITH locked AS MATERIALIZED (
	SELECT 0 AS n, 3 AS call, 0 AS origin, LOADED FROM RESERVATIONS AS entry
	WHERE entry.participant = $1::bigint AND entry.state = 1 AND entry.expires_at <= (SELECT CLOCK)
	LIMIT $2::bigint
	FOR UPDATE SKIP LOCKED
), VERDICTS`

// verdicts judge what is locked. A resource is given back only if the entry still
// holds it.
//
// What is written is found by arrays of ids that are worked out before, and by nothing
// that another index knows. A join could go the wrong way: through the whole table, if
// that was small when the plan was made.
const verdicts = `timed AS MATERIALIZED (
	SELECT locked.*, CLOCK AS now FROM locked
), ruled AS MATERIALIZED (
	SELECT timed.*, (RULES)[RULE_INDEX] AS rule, KEY(timed) AS key FROM timed
), changing AS MATERIALIZED (
	SELECT array_agg(transaction) AS transactions, array_agg(key) AS keys, array_agg(rule % 100) AS states, array_agg(now) AS times
	FROM ruled WHERE rule >= 0
), stored AS (
	UPDATE RESERVATIONS AS e
	SET state = ((SELECT states FROM changing))[array_position((SELECT keys FROM changing), KEY(e))],
		finished_at = CASE WHEN ((SELECT states FROM changing))[array_position((SELECT keys FROM changing), KEY(e))] > 2
			THEN ((SELECT times FROM changing))[array_position((SELECT keys FROM changing), KEY(e))] END
	WHERE e.participant + 0 = $1::bigint AND e.transaction = ANY ((SELECT transactions FROM changing)::text[])
		AND KEY(e) = ANY ((SELECT keys FROM changing)::text[])
), freeing AS MATERIALIZED (
	SELECT array_agg(held.id) AS ids, array_agg(key) AS keys FROM ruled, LATERAL unnest(ruled.resources) AS held (id)
	WHERE ruled.rule >= 100
), freed AS (
	UPDATE RESOURCES AS r SET transaction = NULL, step = NULL, freed = pg_current_xact_id()
	WHERE r.participant + 0 = $1::bigint AND r.id = ANY ((SELECT ids FROM freeing)::text[])
		AND KEY(r) = ANY ((SELECT keys FROM freeing)::text[])
)
SELECT n, transaction, step, state, fingerprint, expires_at, resources, details, now FROM ruled`

// keyText is the SQL of a text that no two keys have in common.
var keyText = regexp.MustCompile(`KEY\((\w+)\)`)

func withKeys(sql string) string {
	return keyText.ReplaceAllString(sql, `(octet_length($1.transaction) || ':' || $1.transaction || $1.step)`)
}

// tombstone keeps keys released of which nothing is known.
const tombstone = `INSERT INTO RESERVATIONS (participant, transaction, step, state, fingerprint, expires_at, finished_at)
SELECT $1::bigint, asked.transaction, asked.step, 3, '', clock.now, clock.now
FROM unnest($2::text[], $3::text[]) AS asked (transaction, step), (SELECT CLOCK AS now) AS clock
ON CONFLICT DO NOTHING
RETURNING transaction, step`

// pruneEntries forgets what finished long ago.
const pruneEntries = `WITH old AS MATERIALIZED (
	SELECT transaction, step FROM RESERVATIONS
	WHERE participant = $1::bigint AND finished_at < (SELECT CLOCK - $2::bigint * interval '1 microsecond')
	ORDER BY finished_at LIMIT $3::bigint
	FOR UPDATE SKIP LOCKED
), gone AS MATERIALIZED (
	SELECT array_agg(transaction) AS transactions, array_agg(KEY(old)) AS keys FROM old
)
DELETE FROM RESERVATIONS AS e
WHERE e.participant + 0 = $1::bigint AND e.transaction = ANY ((SELECT transactions FROM gone)::text[])
	AND KEY(e) = ANY ((SELECT keys FROM gone)::text[])
RETURNING true`
