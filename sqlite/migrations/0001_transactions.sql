-- One row for each transaction. Moments are nanoseconds since 1970 on the
-- journal's clock; steps, reservations and cause are JSON. What a row is found
-- by stands before what may be long.
CREATE TABLE transactions (
	number       INTEGER PRIMARY KEY, -- in the order in which they began
	id           TEXT    NOT NULL UNIQUE,
	version      INTEGER NOT NULL,    -- of the record
	state        INTEGER NOT NULL,    -- 1 begun, 2 assigned, 3 releasing, 4 released
	epoch        INTEGER NOT NULL,
	dropped      INTEGER NOT NULL,    -- how many steps were tried and not kept
	attempts     INTEGER NOT NULL DEFAULT 0,
	begun        INTEGER NOT NULL,
	deadline     INTEGER NOT NULL,
	leased       INTEGER NOT NULL,
	finished     INTEGER,             -- NULL: something is left to do
	owner        TEXT    NOT NULL,
	trouble      TEXT    NOT NULL DEFAULT '',
	released     TEXT,                -- indexes of the steps that are released
	cause        TEXT,
	reservations TEXT,
	steps        TEXT    NOT NULL     -- as they began; never written again
) STRICT;

CREATE INDEX unfinished ON transactions (leased) WHERE finished IS NULL;
