package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
)

// strange are strings that JSON, SQL or C would like to change.
const strange = "\xff\xfe \x00 \\ \" ' \u2028 <&> ದೋಸೆ \ud7ff"

// fullRecords are records that use every field, in every state.
func fullRecords(t *testing.T, j *Journal) {
	t.Helper()
	odd := order(strange)
	odd.Owner = strange
	odd.Steps = append(odd.Steps, twophase.StepRecord{Name: strange, Participant: strange, Hold: time.Nanosecond, Dropped: true})
	odd.Steps[0].Payload = json.RawMessage("{ \"z\":1.0, \"a\":\t\"\xff\\u00e9\" }")
	begin(t, j, odd)
	decide(t, j, strange, twophase.Decision{State: twophase.StateAssigned, Reservations: []twophase.Reservation{
		{Resources: []string{strange, "b"}, TimeLeft: time.Second, Details: json.RawMessage("{ \"b\" : \"\xff\" }")},
		{Resources: []string{}, Assigned: true},
		{},
	}})
	begin(t, j, order("begun"))
	require.NoError(t, j.Yield(t.Context(), "begun", order("").Owner, 1, time.Hour, strange))
	begin(t, j, order("releasing"))
	failed := refused()
	failed.Cause.Message = strange
	decide(t, j, "releasing", failed)
	require.NoError(t, j.Released(t.Context(), "releasing", []string{"delivery"}))
	late := order("released")
	late.State, late.Cause = twophase.StateReleasing, refused().Cause
	begin(t, j, late)
	require.NoError(t, j.Released(t.Context(), "released", []string{"delivery", "store"}))
}

// still returns records without the durations that pass.
func still(records []twophase.Record) []twophase.Record {
	for i := range records {
		records[i].Age, records[i].Deadline, records[i].Lease = 0, 0, 0
	}
	return records
}

func TestReopeningKeepsEverythingByteForByte(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	fullRecords(t, j)
	want := list(t, j, twophase.Filter{})
	require.Equal(t, []string{strange, "begun", "releasing", "released"}, idsOf(want))
	assert.Equal(t, strange, want[0].Steps[2].Name)
	assert.Equal(t, "{ \"z\":1.0, \"a\":\t\"\xff\\u00e9\" }", string(want[0].Steps[0].Payload))
	assert.Equal(t, "{ \"b\" : \"\xff\" }", string(want[0].Steps[0].Reservation.Details))
	assert.Equal(t, []string{strange, "b"}, want[0].Steps[0].Reservation.Resources)
	assert.Nil(t, want[0].Steps[2].Reservation, "it is dropped")
	assert.Equal(t, strange, want[1].Trouble)
	assert.Equal(t, strange, want[2].Cause.Message)
	assert.True(t, want[2].Steps[1].Released)
	require.NoError(t, j.Close())

	j = open(t, path)
	got := list(t, j, twophase.Filter{})
	for i := range want {
		assert.InDelta(t, want[i].Deadline, got[i].Deadline, float64(20*time.Second))
		assert.Less(t, want[i].Age, got[i].Age)
	}
	require.Equal(t, still(want), still(got))
}

func TestEverythingUnfinishedIsClaimableAtOnceAfterOpening(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	fullRecords(t, j)
	claimed, err := j.Claim(t.Context(), "rival", time.Hour, 10)
	require.NoError(t, err)
	require.Empty(t, claimed, "their leases run")
	require.NoError(t, j.Close())

	j = open(t, path)
	claimed, err = j.Claim(t.Context(), "successor", time.Hour, 10)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{strange, "begun", "releasing"}, idsOf(claimed))
	for _, record := range claimed {
		assert.Equal(t, int64(2), record.Epoch)
		assert.Equal(t, time.Hour, record.Lease)
	}
}

func TestSecondJournalOnTheFileIsRefusedInTheSameProcess(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	link := filepath.Join(t.TempDir(), "link.db")
	require.NoError(t, os.Symlink(path, link))
	for _, name := range []string{path, link, filepath.Join(filepath.Dir(path), ".", "x", "..", "journal.db")} {
		_, err := Open(t.Context(), name)
		require.ErrorIs(t, err, ErrLocked, name)
		require.ErrorContains(t, err, path)
	}
	begin(t, j, order("order-1"))
	require.NoError(t, j.Close())
	j = open(t, path)
	require.Equal(t, twophase.StateBegun, stateOf(t, j, "order-1"))
}

func TestSecondProcessIsRefusedUntilTheFirstIsKilled(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	first := exec.CommandContext(t.Context(), os.Args[0])
	first.Env = append(os.Environ(), holdEnv+"="+path)
	out, err := first.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, first.Start())
	defer func() {
		_ = first.Process.Kill()
		_ = first.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)

	start := time.Now()
	_, err = Open(t.Context(), path)
	require.ErrorIs(t, err, ErrLocked)
	require.Less(t, time.Since(start), busyTimeout/2, "it is refused at once")

	require.NoError(t, first.Process.Kill())
	_ = first.Wait()
	j := open(t, path)
	claimed, err := j.Claim(t.Context(), "successor", time.Minute, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"held"}, idsOf(claimed), "what it acknowledged is there")
}

func TestFilesThatAreNoJournalOfThisLibraryAreRefusedAndLeftAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make func(t *testing.T, path string)
		want error
		say  string
	}{
		"newer schema":           {newerSchema, ErrNewer, "99"},
		"another's database":     {foreignDatabase, ErrForeign, "file of its own"},
		"garbage":                {garbage, ErrDamaged, "backup"},
		"text":                   {plainText, ErrDamaged, "backup"},
		"truncated":              {truncated(4096 * 3), ErrDamaged, "backup"},
		"truncated within page":  {truncated(5000), ErrDamaged, "backup"},
		"truncated within head":  {truncated(50), ErrDamaged, "backup"},
		"overwritten first page": {overwritten, ErrDamaged, "backup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			test.make(t, path)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			for range 2 {
				_, err = Open(t.Context(), path)
				require.ErrorIs(t, err, test.want)
				require.ErrorContains(t, err, path)
				require.ErrorContains(t, err, test.say)
			}
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(before, left), "the file is left as it is")
		})
	}
}

// execute runs statements on a file that nobody has open.
func execute(t *testing.T, path string, statements ...string) {
	t.Helper()
	c, err := openConn(path, statements...)
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

func newerSchema(t *testing.T, path string) {
	require.NoError(t, open(t, path).Close())
	execute(t, path, "PRAGMA user_version = 99")
}

func foreignDatabase(t *testing.T, path string) {
	execute(t, path, "CREATE TABLE people (name TEXT)")
}

func garbage(t *testing.T, path string) {
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte{0xA5}, 10000), 0o600))
}

func plainText(t *testing.T, path string) {
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("not a database\n", 100)), 0o600))
}

// truncated makes a journal that lost its end.
func truncated(size int64) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		j := open(t, path)
		for _, id := range []string{"order-1", "order-2", "order-3"} {
			record := order(id)
			record.Steps[0].Payload = json.RawMessage(`"` + strings.Repeat("x", 10000) + `"`)
			begin(t, j, record)
		}
		require.NoError(t, j.Close())
		require.NoError(t, os.Truncate(path, size))
	}
}

func overwritten(t *testing.T, path string) {
	j := open(t, path)
	begin(t, j, order("order-1"))
	require.NoError(t, j.Close())
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(bytes.Repeat([]byte{0xA5}, 4096-100), 100)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestDamageFoundLaterIsToldAndNeverASuccess(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	j := open(t, path)
	for _, id := range []string{"order-1", "order-2"} {
		record := order(id)
		record.Steps[0].Payload = json.RawMessage(`"` + strings.Repeat("x", 100000) + `"`)
		begin(t, j, record)
	}
	require.NoError(t, j.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(bytes.Repeat([]byte{0xFF}, int(info.Size())-2*4096), 2*4096)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	damaged, err := Open(t.Context(), path)
	if err == nil {
		defer func() { _ = damaged.Close() }()
		_, _, err = damaged.Begin(t.Context(), order("order-1"))
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorIs(t, err, twophase.ErrUnavailable, "nothing was written")
		_, err = damaged.Get(t.Context(), "order-2")
	}
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, path)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), "", WithReaders(0), WithMaxBatch(-1), WithMaxWaiting(0))
	require.ErrorIs(t, err, twophase.ErrInvalid)
	for _, name := range []string{"path", "WithReaders(0)", "WithMaxBatch(-1)", "WithMaxWaiting(0)"} {
		require.ErrorContains(t, err, name)
	}
	missing := filepath.Join(t.TempDir(), "missing", "journal.db")
	_, err = Open(t.Context(), missing)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, missing)

	folder := t.TempDir()
	_, err = Open(t.Context(), folder)
	require.ErrorContains(t, err, folder)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(ctx, newPath(t))
	require.ErrorIs(t, err, context.Canceled)
}

func TestNamesThatSQLiteWouldInterpretAreFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{":memory:", "file:x?mode=memory", "a?b=c"} {
		path := filepath.Join(t.TempDir(), name)
		begin(t, open(t, path), order("order-1"))
		require.FileExists(t, path)
	}
}

func TestClosedJournalRefusesEverything(t *testing.T) {
	t.Parallel()
	j := open(t, newPath(t))
	begin(t, j, order("order-1"))
	require.NoError(t, j.Close())
	require.NoError(t, j.Close(), "once more")
	_, _, begun := j.Begin(t.Context(), order("order-2"))
	_, decided := j.Decide(t.Context(), "order-1", given())
	_, claimed := j.Claim(t.Context(), "rival", time.Minute, 1)
	_, got := j.Get(t.Context(), "order-1")
	_, pruned := j.Prune(t.Context(), 0, 1)
	for _, err := range []error{begun, decided, claimed, got, pruned, j.Released(t.Context(), "order-1", nil)} {
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, err, twophase.ErrUnavailable)
	}
	for _, err := range j.List(t.Context(), twophase.Filter{}) {
		require.ErrorIs(t, err, ErrClosed)
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixNano()
	ahead := newClock(now + int64(time.Hour))
	assert.GreaterOrEqual(t, ahead.now(), now+int64(time.Hour), "the wall clock was set back before opening")
	assert.InDelta(t, time.Now().UnixNano(), newClock(0).now(), float64(10*time.Second))
	assert.Equal(t, int64(1<<63-1), after(now, 1<<63-1), "for ever")
}
