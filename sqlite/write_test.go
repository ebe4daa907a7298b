package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// crowd begins so many orders at once and returns each one's error.
func crowd(t *testing.T, j *Journal, n int, change func(i int, r *twophase.Record)) []error {
	t.Helper()
	errs := make([]error, n)
	var done sync.WaitGroup
	for i := range n {
		record := order(fmt.Sprintf("order-%d", i))
		change(i, &record)
		done.Go(func() { _, _, errs[i] = j.Begin(t.Context(), record) })
	}
	done.Wait()
	return errs
}

const bad = 7 // the one of a crowd that fails

// requireAlone checks that the bad one failed, and nobody else.
func requireAlone(t *testing.T, j *Journal, errs []error, want error) {
	t.Helper()
	for i, err := range errs {
		id := fmt.Sprintf("order-%d", i)
		if i == bad {
			require.ErrorIs(t, err, want)
			require.Zero(t, stateOf(t, j, id))
			continue
		}
		require.NoError(t, err, id)
		require.Equal(t, twophase.StateBegun, stateOf(t, j, id))
	}
}

func TestOversizedRecordFailsAlone(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	errs := crowd(t, j, 64, func(i int, r *twophase.Record) {
		if i == bad {
			r.Steps[0].Payload = json.RawMessage(`"` + strings.Repeat("x", MaxRecordSize) + `"`)
		}
	})
	requireAlone(t, j, errs, twophase.ErrInvalid)
	assert.NotErrorIs(t, errs[bad], twophase.ErrUnavailable, "trying again is of no use")

	decision := given()
	decision.Reservations[0].Details = json.RawMessage(`"` + strings.Repeat("x", MaxRecordSize) + `"`)
	_, err := j.Decide(t.Context(), "order-1", decision)
	require.ErrorIs(t, err, twophase.ErrInvalid)
	decide(t, j, "order-1", given())
}

func TestBoundsAreExact(t *testing.T) {
	t.Parallel()
	long := func(n int) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", n-2) + `"`) }
	const id, name, participant, resource = "order-1", "near", "the store around the corner", "packet-1"
	for extra, refused := range []bool{false, true} {
		_, _, err := encodeSteps(id, []twophase.StepRecord{{
			Name: name, Participant: participant, Payload: long(MaxRecordSize - len(id+name+participant) + extra),
		}})
		assert.Equal(t, refused, errors.Is(err, twophase.ErrInvalid), "a record of %d bytes too many: %v", extra, err)
		const frame = 48 + 3 // of what is around the details and the resource
		_, err = encodeReservations(id, []twophase.Reservation{{
			Resources: []string{resource}, Details: long(MaxRecordSize - frame - len(resource) + extra),
		}})
		assert.Equal(t, refused, errors.Is(err, twophase.ErrInvalid), "reservations of %d bytes too many: %v", extra, err)
		message := strings.Repeat("x", maxMessage+extra)
		assert.Equal(t, refused, clip(message) != message)
	}
}

func TestRecordAsLargeAsACoordinatorAcceptsIsStored(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	record := order("order-1")
	record.Steps = nil
	for i := range twophase.MaxSteps {
		record.Steps = append(record.Steps, twophase.StepRecord{
			Name: fmt.Sprintf("%0*d", twophase.MaxIDLength, i), Participant: "store",
			Payload: json.RawMessage(`"` + strings.Repeat(`\"`, twophase.MaxPayloadSize/2-1) + `"`),
		})
	}
	begin(t, j, record)
	got, err := j.Get(t.Context(), "order-1")
	require.NoError(t, err)
	require.Equal(t, record.Steps, got.Steps)
}

func TestEndlessMessagesAreCut(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	begin(t, j, order("order-1"))
	endless := strings.Repeat("x", MaxRecordSize+1)
	require.NoError(t, j.Yield(t.Context(), "order-1", order("").Owner, 1, 0, endless))
	decision := refused()
	decision.Cause.Message = endless
	decide(t, j, "order-1", decision)
	record, err := j.Get(t.Context(), "order-1")
	require.NoError(t, err)
	require.Less(t, len(record.Cause.Message)+len(record.Trouble), 3*maxMessage)
}

// beginInOneBatch begins so many orders in one batch and returns each one's error. The
// writer is the test's from then on.
func beginInOneBatch(t *testing.T, j *Journal, n int) []error {
	t.Helper()
	j.group.Close()
	batch := make([]*operation, n)
	for i := range batch {
		batch[i] = &operation{apply: func(w *writer) error {
			_, err := w.insert(order(fmt.Sprintf("order-%d", i)), []byte("[]"), nil, 0)
			return err
		}}
	}
	require.NoError(t, j.writer.commit(t.Context(), batch))
	errs := make([]error, n)
	for i, op := range batch {
		errs[i] = op.err
	}
	return errs
}

// What SQLite refuses, by a rule that a test has it keep.
func TestRecordThatSQLiteRefusesFailsAlone(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]string{
		"the statement is undone":         "ABORT",
		"the statement fails half-way":    "FAIL",
		"the whole transaction is undone": "ROLLBACK",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := open(t, newPath(t))
			require.NoError(t, j.writer.Exec(fmt.Sprintf(`CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.transactions
				WHEN NEW.id = 'order-%d' BEGIN SELECT RAISE(%s, 'refused'); END`, bad, action)))
			errs := beginInOneBatch(t, j, 16)
			requireAlone(t, j, errs, groupcommit.ErrNotWritten)
			require.ErrorContains(t, errs[bad], "refused")
		})
	}
}

// Each is tried by itself when one has undone them all, and so is told of its own
// commit.
func TestCommitThatFailsForOneOfThoseWhoAreTriedAloneIsToldToThatOne(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	require.NoError(t, j.writer.Exec(`CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.transactions
		WHEN NEW.id = 'order-1' BEGIN SELECT RAISE(ROLLBACK, 'refused'); END`))
	commits := 0
	j.writer.CommitHook(func() bool {
		commits++
		return commits != 2
	})
	errs := beginInOneBatch(t, j, 4)
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], groupcommit.ErrNotWritten)
	require.ErrorContains(t, errs[2], "whether it was committed is open")
	require.NoError(t, errs[3])
	require.Equal(t, twophase.StateBegun, stateOf(t, j, "order-3"))
}

func TestFailedCommitLeavesOpenWhatHappenedAndARepeatedCallLearnsIt(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	begin(t, j, order("order-1"))
	j.writer.CommitHook(func() bool { return false })
	_, _, err := j.Begin(t.Context(), order("order-2"))
	require.Error(t, err)
	require.NotErrorIs(t, err, twophase.ErrUnavailable)
	require.ErrorContains(t, err, j.path)
	_, err = j.Decide(t.Context(), "order-1", given())
	require.Error(t, err)
	require.NotErrorIs(t, err, twophase.ErrUnavailable)
	require.Equal(t, twophase.StateBegun, stateOf(t, j, "order-1"))

	j.writer.CommitHook(nil)
	begin(t, j, order("order-2"))
	decide(t, j, "order-1", given())
	begin(t, j, order("order-1")) // repeated by the same owner
}

func TestPanicInTheDriverLeavesOpenWhatHappenedAndTheJournalGoesOn(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	begin(t, j, order("order-1"))
	_, err := write(t.Context(), j, func(w *writer) (int, error) {
		_, _ = w.insert(order("order-2"), []byte("[]"), nil, 0)
		panic("out of bounds")
	})
	require.ErrorContains(t, err, "out of bounds")
	require.NotErrorIs(t, err, twophase.ErrUnavailable)
	decide(t, j, "order-1", given())
	begin(t, j, order("order-2"))
}

func TestCallersWhoGiveUpFailNobodyElse(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	const callers = 64
	var done sync.WaitGroup
	errs := make([]error, callers)
	for i := range callers {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if i%4 == 0 {
			go cancel()
		}
		done.Go(func() { _, _, errs[i] = j.Begin(ctx, order(fmt.Sprintf("order-%d", i))) })
	}
	done.Wait()
	for i, err := range errs {
		id := fmt.Sprintf("order-%d", i)
		switch {
		case i%4 != 0:
			require.NoError(t, err)
			require.Equal(t, twophase.StateBegun, stateOf(t, j, id))
		case errors.Is(err, twophase.ErrUnavailable):
			require.Zero(t, stateOf(t, j, id))
		case err != nil:
			require.ErrorIs(t, err, context.Canceled)
		}
	}
}

func TestMoreWritesThanMayWaitAreRefusedAndNotWritten(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t), WithMaxBatch(1), WithMaxWaiting(1))
	held, free := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		_, err := write(t.Context(), j, func(*writer) (int, error) {
			close(held)
			<-free
			return 0, nil
		})
		assert.NoError(t, err)
	})
	<-held
	errs := crowd(t, j, 8, func(i int, _ *twophase.Record) {
		if i == 7 {
			close(free)
		}
	})
	done.Wait()
	for i, err := range errs {
		if err != nil {
			require.ErrorIs(t, err, twophase.ErrUnavailable)
			require.Zero(t, stateOf(t, j, fmt.Sprintf("order-%d", i)))
		}
	}
}

func TestFileThatWasDeletedOrReplacedTakesNoMoreWrites(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	begin(t, j, order("order-1"))
	require.NoError(t, os.Rename(path, path+".away"))
	_, _, err := j.Begin(t.Context(), order("order-2"))
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorIs(t, err, twophase.ErrUnavailable)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = j.Decide(t.Context(), "order-1", given())
	require.ErrorIs(t, err, ErrMoved, "another file is there")
	require.NoError(t, os.Rename(path+".away", path))
	decide(t, j, "order-1", given())
}
