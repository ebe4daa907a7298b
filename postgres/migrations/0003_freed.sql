-- Which transaction made it free: whoever saw a kind sold out, and which transactions
-- were over by then, has to look at what others have freed since, and at nothing else.
ALTER TABLE twophase_resources ADD COLUMN freed xid8;

-- For asking whether there is anything again.
CREATE INDEX twophase_resources_freed ON twophase_resources (participant, kind, freed) WHERE transaction IS NULL;
