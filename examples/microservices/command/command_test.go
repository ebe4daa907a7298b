package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/command"
)

// TestMain makes a service of the test binary where its first argument is one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(command.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestMistakesOnTheCommandLineAreNamed(t *testing.T) {
	t.Parallel()
	for line, words := range map[string]string{
		"fly":                           `there is no command "fly"`,
		"up -nonsense":                  "nonsense",
		"up now":                        `unexpected argument "now"`,
		"up -transport pigeon":          `-transport "pigeon"`,
		"up -stock 0":                   "-stock 0",
		"load -callers 0":               "-callers 0",
		"load -for -1s":                 "-for",
		"load -restock -1":              "-restock -1",
		"chaos -for 0s":                 "-for 0s",
		"chaos -callers 100000":         "-callers 100000",
		"chaos -transport pigeon":       `-transport "pigeon"`,
		"bench -callers 1,two":          "-callers",
		"bench -rounds 0":               "-rounds",
		"bench -transport pigeon":       `-transport "pigeon"`,
		"order":                         "-database is needed",
		"store -database x -stock -1":   "-stock -1",
		"delivery -database x -conns 0": "-conns 0",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			assert.Equal(t, 2, command.Run(t.Context(), strings.Fields(line), &stdout, &stderr))
			assert.Contains(t, stderr.String(), words)
			assert.Empty(t, stdout.String())
		})
	}
}

func TestHelpListsCommandsAndFlags(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "help", "-help", "--help"} {
		var stdout bytes.Buffer
		assert.Equal(t, 0, command.Run(t.Context(), strings.Fields(line), &stdout, io.Discard))
		assert.Contains(t, stdout.String(), "chaos")
	}
	var stdout bytes.Buffer
	assert.Equal(t, 0, command.Run(t.Context(), []string{"up", "-help"}, &stdout, io.Discard))
	assert.Contains(t, stdout.String(), "-transport")
}

func TestCommandsThatNeedSomethingUpSaySo(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "state.json")
	for _, name := range []string{"down", "load", "audit"} {
		var stderr bytes.Buffer
		assert.Equal(t, 1, command.Run(t.Context(), []string{name, "-state", nowhere}, io.Discard, &stderr))
		assert.Contains(t, stderr.String(), "nothing is up")
	}
}

// town is what up has started.
type town struct {
	state string
	ended chan int
	urls  map[string]string
}

func startUp(t *testing.T, transport string) *town {
	t.Helper()
	s := &town{state: filepath.Join(t.TempDir(), "state.json"), ended: make(chan int, 1)}
	var stderr bytes.Buffer
	go func() {
		s.ended <- command.Run(context.WithoutCancel(t.Context()), []string{
			"up", "-state", s.state, "-transport", transport, "-log", "error",
			"-order", "", "-store", "", "-delivery", "",
		}, io.Discard, &stderr)
	}()
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(s.state)
		var known struct {
			URLs map[string]string `json:"urls"`
		}
		ok := err == nil && json.Unmarshal(text, &known) == nil
		s.urls = known.URLs
		return ok || len(s.ended) > 0
	}, 60*time.Second, 50*time.Millisecond)
	require.Empty(t, s.ended, "%s", &stderr)
	t.Cleanup(func() {
		assert.Equal(t, 0, command.Run(context.WithoutCancel(t.Context()), []string{"down", "-state", s.state}, io.Discard, os.Stderr))
		assert.Equal(t, 0, <-s.ended)
		assert.NoFileExists(t, s.state)
	})
	return s
}

func (s *town) post(t *testing.T, path, body string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.urls["order"]+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, text
}

func (s *town) place(t *testing.T, id string) (int, api.Answer) {
	t.Helper()
	status, text := s.post(t, "/orders", `{"id":"`+id+`","food":"masala dosa","area":"Indiranagar"}`)
	var answer api.Answer
	require.NoError(t, json.Unmarshal(text, &answer), "%s", text)
	return status, answer
}

func TestOneCommandStartsEverythingAndAnotherStopsIt(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"http", "grpc"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := startUp(t, transport)
			status, first := s.place(t, "order-1")
			require.Equal(t, http.StatusOK, status, "%+v", first)
			status, again := s.place(t, "order-1")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, first, again)

			status, text := s.post(t, "/break/empty-food", `{"kind":"masala dosa"}`)
			require.Equal(t, http.StatusOK, status, "%s", text)
			status, answer := s.place(t, "order-2")
			assert.Equal(t, http.StatusConflict, status)
			assert.Equal(t, api.SoldOut, answer.Reason)

			status, text = s.post(t, "/break/restock", "{}")
			require.Equal(t, http.StatusOK, status, "%s", text)
			status, _ = s.place(t, "order-3")
			assert.Equal(t, http.StatusOK, status)

			var report bytes.Buffer
			assert.Equal(t, 0, command.Run(t.Context(), []string{"audit", "-state", s.state}, &report, &report), "%s", &report)
			assert.Contains(t, report.String(), "ok      I1")

			status, text = s.post(t, "/break/stop-store", "{}")
			require.Equal(t, http.StatusOK, status, "%s", text)
			status, answer = s.place(t, "order-4")
			assert.Equal(t, http.StatusConflict, status)
			assert.Equal(t, api.NoAnswer, answer.Reason)
			status, _ = s.post(t, "/break/stop-store", "{}")
			assert.Equal(t, http.StatusConflict, status, "it is under way")
			status, _ = s.post(t, "/break/the-bank", "{}")
			assert.Equal(t, http.StatusNotFound, status)
		})
	}
}
