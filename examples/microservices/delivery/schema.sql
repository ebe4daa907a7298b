-- Delivery's own table, as it might have had it before. The fence's are beside it.
CREATE TABLE IF NOT EXISTS agents (
	id             text PRIMARY KEY,
	area           text        NOT NULL,
	waiting_since  timestamptz NOT NULL DEFAULT clock_timestamp(),
	"transaction"  text,        -- the order that the agent is set aside for, or given to
	step           text,
	reserved_until timestamptz, -- for people to see: the fence judges by its own books
	assigned       boolean     NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000);

-- Those who may be sent, in the order in which they are.
CREATE INDEX IF NOT EXISTS agents_waiting ON agents (area, waiting_since) WHERE "transaction" IS NULL;

CREATE TABLE IF NOT EXISTS areas (area text PRIMARY KEY);

CREATE SEQUENCE IF NOT EXISTS agent_numbers;

-- Who has run out of time is free, whether the fence has tidied up or not.
CREATE OR REPLACE VIEW stock AS
SELECT area AS kind, id,
	CASE WHEN held THEN "transaction" ELSE '' END AS transaction, CASE WHEN held THEN step ELSE '' END AS step,
	CASE WHEN assigned THEN 'assigned' WHEN held THEN 'reserved' ELSE 'free' END AS state,
	CASE WHEN held THEN reserved_until END AS until
FROM (SELECT *, assigned OR "transaction" IS NOT NULL AND reserved_until > clock_timestamp() AS held FROM agents) AS a;
