//go:build unix

package postgres

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/internal/crashtest"
)

// keepLedger has the database write down whatever becomes of a key, in the
// transaction that does it: what was rolled back is not in the ledger. Whoever takes
// a resource has waited for whoever gave it back, so its lines are in order.
func keepLedger(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	for _, sql := range []string{
		`CREATE TABLE ledger (n bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(),
			participant bigint, transaction text, step text, state bigint, expires_at timestamptz, resource text)`,
		`CREATE FUNCTION keep_ledger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO ledger (participant, transaction, step, state, expires_at, resource)
			VALUES (NEW.participant, NEW.transaction, NEW.step, NEW.state, NEW.expires_at,
				CASE WHEN NEW.state IN (1, 2) THEN coalesce(NEW.resources[1], '') ELSE '' END);
			RETURN NULL;
		END $$`,
		`CREATE TRIGGER keep_ledger AFTER INSERT OR UPDATE ON twophase_reservations
			FOR EACH ROW EXECUTE FUNCTION keep_ledger()`,
	} {
		execute(t, db, sql)
	}
}

// afterTheVerdict is how much later than a verdict its line may be written.
const afterTheVerdict = 100 * time.Millisecond

// readLedgers returns what has become of all keys, by participant.
func readLedgers(t *testing.T, db *pgxpool.Pool) map[string][]crashtest.Change {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT name, at, transaction, step, state, expires_at, resource
		FROM ledger JOIN twophase_participants ON id = participant ORDER BY n`)
	require.NoError(t, err)
	ledgers := map[string][]crashtest.Change{}
	var name string
	var state int64
	var c crashtest.Change
	_, err = pgx.ForEachRow(rows, []any{&name, &c.At, &c.Key.Transaction, &c.Key.Step, &state, &c.Expires, &c.Resource}, func() error {
		c.At, c.State = c.At.Add(-afterTheVerdict), crashtest.State(state)
		ledgers[name] = append(ledgers[name], c)
		return nil
	})
	require.NoError(t, err)
	return ledgers
}

// requireTablesAgree checks that the keys that hold something are those that the
// resources say hold them, in a pool and in a fence's own table.
func requireTablesAgree(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	for what, sql := range map[string]string{
		"resources whose holder does not know of it": `SELECT count(*) FROM twophase_resources AS r
			WHERE r.transaction IS NOT NULL AND NOT EXISTS (SELECT FROM twophase_reservations AS e
				WHERE e.participant = r.participant AND e.transaction = r.transaction AND e.step = r.step
					AND e.state IN (1, 2) AND r.id = ANY (e.resources))`,
		"holders of what they do not have": `SELECT count(*) FROM twophase_reservations AS e, unnest(e.resources) AS held (id)
			WHERE e.state IN (1, 2) AND e.participant IN (SELECT id FROM twophase_participants WHERE type = 'pool')
				AND NOT EXISTS (SELECT FROM twophase_resources AS r WHERE r.participant = e.participant AND r.id = held.id
					AND r.transaction = e.transaction AND r.step = e.step)`,
		"packets on shelves that differ from the fence's": `SELECT count(*) FROM (
				SELECT packet, sold_to, state FROM shelves WHERE state <> 'free') AS s
			FULL JOIN (SELECT held.id, transaction || '/' || step AS key, CASE e.state WHEN 1 THEN 'reserved' ELSE 'sold' END AS state
				FROM twophase_reservations AS e JOIN twophase_participants AS p ON p.id = e.participant, unnest(e.resources) AS held (id)
				WHERE e.state IN (1, 2) AND p.type = 'fence') AS f
			ON f.id = s.packet AND f.key = s.sold_to AND f.state = s.state WHERE f.id IS NULL OR s.packet IS NULL`,
	} {
		var strangers int
		require.NoError(t, db.QueryRow(t.Context(), sql).Scan(&strangers))
		require.Zero(t, strangers, what)
	}
}

// violations returns those of some invariants that the ledgers show.
func violations(t *testing.T, db *pgxpool.Pool, invariant string) (found []error) {
	t.Helper()
	var v *crashtest.Violation
	for _, err := range (crashtest.Books{Ledgers: readLedgers(t, db)}).Audit(time.Now()) {
		require.ErrorAs(t, err, &v)
		if v.Invariant == invariant {
			found = append(found, err)
		}
	}
	return found
}
