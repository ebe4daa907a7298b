-- With the id in it, it could be taken for a way to an id: a plan that is kept from when
-- the table had one row or none then reads all of it.
DROP INDEX twophase_transactions_begun;
CREATE INDEX twophase_transactions_begun ON twophase_transactions (begun_at);
