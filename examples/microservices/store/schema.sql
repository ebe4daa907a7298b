-- What the store sells. Its packets are in the tables of its pool.
CREATE TABLE IF NOT EXISTS menu (food text PRIMARY KEY);

-- Numbers the packets of all foods.
CREATE SEQUENCE IF NOT EXISTS packet_numbers;

-- The packets. What has run out is free, whether somebody has tidied up or not.
CREATE OR REPLACE VIEW stock AS
SELECT r.kind, r.id, coalesce(e.transaction, '') AS transaction, coalesce(e.step, '') AS step,
	CASE e.state WHEN 1 THEN 'reserved' WHEN 2 THEN 'assigned' ELSE 'free' END AS state,
	CASE e.state WHEN 1 THEN e.expires_at END AS until
FROM twophase_resources AS r
JOIN twophase_participants AS p ON p.id = r.participant AND p.name = 'store'
LEFT JOIN twophase_reservations AS e
	ON e.participant = r.participant AND e.transaction = r.transaction AND e.step = r.step
	AND (e.state = 2 OR e.state = 1 AND e.expires_at > clock_timestamp());
