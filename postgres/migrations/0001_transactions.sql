-- One row for each transaction. What Begin was given never changes; the
-- decision is written once; the lease changes hands.
CREATE TABLE twophase_transactions (
	id                text COLLATE "C" PRIMARY KEY,
	version           bigint      NOT NULL, -- of the record's format
	steps             text        NOT NULL, -- JSON, with each payload's own bytes
	state             bigint      NOT NULL, -- 1 begun, 2 assigned, 3 releasing, 4 released
	decision          text        NOT NULL DEFAULT '', -- JSON: what was given, or why not
	released          text        NOT NULL DEFAULT '', -- JSON: the steps whose Release was acknowledged
	ends_if_assigned  boolean     NOT NULL, -- whether that decision leaves nothing to do
	ends_if_releasing boolean     NOT NULL,
	owner             text        NOT NULL, -- the coordinator that drives it
	epoch             bigint      NOT NULL DEFAULT 1,
	attempts          bigint      NOT NULL DEFAULT 0,
	trouble           text        NOT NULL DEFAULT '',
	begun_at          timestamptz NOT NULL,
	deadline          timestamptz NOT NULL,
	leased_until      timestamptz NOT NULL,
	finished_at       timestamptz           -- null while there is something left to do
) WITH (
	-- The table grows to millions of rows and changes at its young end only:
	-- a fifth of it is too much to wait for.
	autovacuum_vacuum_scale_factor = 0.01,
	autovacuum_vacuum_threshold = 20000,
	autovacuum_analyze_scale_factor = 0.02
);

-- For claiming: only what is unfinished is in it.
CREATE INDEX twophase_transactions_open ON twophase_transactions (leased_until) WHERE finished_at IS NULL;

-- For listing and for pruning: what finished long ago began longer ago, so the
-- oldest come first and no index of finished_at is needed.
CREATE INDEX twophase_transactions_begun ON twophase_transactions (begun_at, id);
