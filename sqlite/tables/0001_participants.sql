-- Moments are nanoseconds since 1970 on the clock of the machine.

-- One row for each pool and each fence in the file.
CREATE TABLE twophase_participants (
	number INTEGER PRIMARY KEY,
	name   TEXT NOT NULL UNIQUE,
	role   TEXT NOT NULL -- pool or fence
) STRICT;

-- One row for each key that a participant was ever called with, until it is
-- forgotten: what is stored under the key, and the answer to give again.
CREATE TABLE twophase_entries (
	number         INTEGER PRIMARY KEY,
	participant    INTEGER NOT NULL,
	transaction_id TEXT    NOT NULL,
	step           TEXT    NOT NULL,
	state          INTEGER NOT NULL,            -- 1 reserved, 2 assigned, 3 released, 4 expired
	expires        INTEGER NOT NULL,
	finished       INTEGER NOT NULL DEFAULT 0,  -- when it was released or found expired
	kind           TEXT    NOT NULL DEFAULT '', -- of what it holds; a fence has none
	fingerprint    BLOB    NOT NULL,            -- empty: a Release came first
	reservation    TEXT    NOT NULL DEFAULT '', -- JSON, while it holds something
	UNIQUE (participant, transaction_id, step)
) STRICT;

-- What runs out next, so that whoever takes finds what has run out.
CREATE INDEX twophase_entries_due ON twophase_entries (participant, kind, expires) WHERE state = 1;

-- What may be forgotten next.
CREATE INDEX twophase_entries_finished ON twophase_entries (participant, finished) WHERE finished > 0;

-- One row for each resource of a pool, and room in it for one holder: whatever
-- goes wrong, no two keys hold the same.
CREATE TABLE twophase_resources (
	number      INTEGER PRIMARY KEY,
	participant INTEGER NOT NULL,
	id          TEXT    NOT NULL,
	kind        TEXT    NOT NULL,
	since       INTEGER NOT NULL, -- when it became free
	entry       INTEGER,          -- that holds it; NULL: it is free
	attributes  TEXT,             -- JSON
	UNIQUE (participant, id)
) STRICT;

CREATE INDEX twophase_resources_kind ON twophase_resources (participant, kind);

-- Only what is free is in it, the one to be given next at the front: taking
-- costs the same however many are taken already.
CREATE INDEX twophase_resources_free ON twophase_resources (participant, kind, since) WHERE entry IS NULL;
