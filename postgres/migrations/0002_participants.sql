-- Whoever keeps reservations here: a pool or a fence.
CREATE TABLE twophase_participants (
	id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text COLLATE "C" NOT NULL UNIQUE,
	type text NOT NULL -- pool, fence
);

-- One row for each key that was ever asked for, until its retention is over. Its
-- state changes as the contract's table says. No foreign key leads to the
-- participant: every row would lock the same one.
CREATE TABLE twophase_reservations (
	participant bigint             NOT NULL,
	transaction text COLLATE "C"   NOT NULL,
	step        text COLLATE "C"   NOT NULL,
	state       bigint             NOT NULL, -- 1 reserved, 2 assigned, 3 released, 4 expired
	fingerprint bytea              NOT NULL, -- of the payload; empty if a Release came first
	kind        text COLLATE "C"   NOT NULL DEFAULT '',
	resources   text[]             NOT NULL DEFAULT '{}', -- what it holds, or has held
	details     text,                        -- JSON
	expires_at  timestamptz        NOT NULL, -- matters only while it is reserved
	finished_at timestamptz,                 -- when it was released or found expired
	PRIMARY KEY (transaction, step, participant)
) WITH (
	autovacuum_vacuum_scale_factor = 0.01,
	autovacuum_vacuum_threshold = 20000,
	autovacuum_analyze_scale_factor = 0.02
);

-- For taking back what has run out: only what is reserved is in it.
CREATE INDEX twophase_reservations_reserved ON twophase_reservations (participant, kind, expires_at) WHERE state = 1;

-- For pruning.
CREATE INDEX twophase_reservations_finished ON twophase_reservations (participant, finished_at)
	WHERE finished_at IS NOT NULL;

-- One row for each resource of a pool. It has room for one holder, so no two
-- keys can ever hold it.
CREATE TABLE twophase_resources (
	participant bigint           NOT NULL,
	id          text COLLATE "C" NOT NULL,
	kind        text COLLATE "C" NOT NULL,
	slot        integer          NOT NULL, -- random: where in its kind it is found
	transaction text COLLATE "C",          -- the key that holds it, null if it is free
	step        text COLLATE "C",
	attributes  jsonb,
	PRIMARY KEY (id, participant),
	CHECK ((transaction IS NULL) = (step IS NULL))
) WITH (
	-- What was taken leaves dead entries in the index of what is free.
	autovacuum_vacuum_scale_factor = 0.01,
	autovacuum_vacuum_threshold = 2000
);

-- For taking: only what is free is in it, however much is held.
CREATE INDEX twophase_resources_free ON twophase_resources (participant, kind, slot) WHERE transaction IS NULL;

-- For listing. Its expressions keep those who take from using it, whose plans are kept
-- from when the table was small.
CREATE INDEX twophase_resources_listed ON twophase_resources ((participant * 1), (kind || ''), (id || ''));
