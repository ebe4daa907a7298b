package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// The participant in Node.js, which shares no line with those in Go.

const nodeStore = "../../examples/microservices/node/store.mjs"

// nodeProcess is a store under way.
type nodeProcess struct {
	address string
	command *exec.Cmd
}

// startNodeStore starts a store with 24 resources of each kind on a free port.
func startNodeStore(t *testing.T, log string, kinds ...string) *nodeProcess {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node in the PATH: the participant in Node.js cannot be verified; install nodejs, version 20 or later")
	}
	args := []string{nodeStore, "--port", "0", "--log", log}
	for _, kind := range kinds {
		args = append(args, "--stock", kind+"=24")
	}
	command := exec.CommandContext(context.WithoutCancel(t.Context()), node, args...)
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	p := &nodeProcess{command: command}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	p.address = regexp.MustCompile(`http://\S+`).FindString(line)
	require.NotEmpty(t, p.address, line)
	return p
}

// kill ends the process as a power cut does.
func (p *nodeProcess) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

func TestStoreInNodeKeepsTheContract(t *testing.T) {
	t.Parallel()
	p := startNodeStore(t, filepath.Join(t.TempDir(), "store.log"), eightKinds...)
	status, stdout, stderr := twophaseCommand(t,
		append([]string{"verify", "-hold", "500ms", p.address}, kindFlags(eightKinds...)...)...)
	assert.Equal(t, exitKept, status, stdout)
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "66 promises: 66 kept\nAll resources are free again.\n")
}

// promised is what a store has answered about a key.
type promised struct {
	key       twophase.Key
	resource  string
	assigned  bool
	released  bool
	uncertain bool // the last call was not answered
}

func TestStoreInNodeForgetsNothingWhenItIsKilled(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "store.log")
	p := startNodeStore(t, log, "dosa")
	client := nodeClient(t, p)
	answered := make(chan struct{}, 1000)
	promises := make([]promised, 8*100)
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for i := range 100 {
				promises[caller*100+i] = callUntilCut(t.Context(), client, fmt.Sprintf("order-%d-%d", caller, i), i%3, answered)
			}
		})
	}
	for range 120 {
		<-answered
	}
	p.kill()
	callers.Wait()
	appendTo(t, log, `["[\"order-torn\",\"st`) // as if it had been killed while it was writing

	client = nodeClient(t, startNodeStore(t, log, "dosa"))
	kept := 0
	for _, promise := range promises {
		if promise.key != (twophase.Key{}) && !promise.uncertain {
			promise.requireKept(t, client)
			kept++
		}
	}
	require.GreaterOrEqual(t, kept, 20)
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func nodeClient(t *testing.T, p *nodeProcess) *twophasehttp.Participant {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := twophasehttp.NewParticipant(p.address, twophasehttp.WithRoundTripper(transport))
	require.NoError(t, err)
	return client
}

func dosa(key twophase.Key) twophase.Request {
	return twophase.Request{Key: key, Payload: json.RawMessage(`{"kind":"dosa"}`), Hold: time.Hour}
}

// callUntilCut reserves, and then assigns, or assigns and releases; and returns
// what was answered.
func callUntilCut(ctx context.Context, p twophase.Participant, id string, calls int, answered chan<- struct{}) promised {
	promise := promised{key: twophase.Key{Transaction: id, Step: "store"}}
	told := func(err error) bool {
		promise.uncertain = err != nil && !twophase.IsFinal(err)
		if err == nil {
			select {
			case answered <- struct{}{}:
			default:
			}
		}
		return err == nil
	}
	r, err := p.Reserve(ctx, dosa(promise.key))
	if !told(err) {
		return promise
	}
	promise.resource = r.Resource()
	if calls > 0 && told(p.Assign(ctx, promise.key)) {
		promise.assigned = true
	}
	// Most are released, or there would be none left for the others.
	if !promise.uncertain && (calls > 1 || !strings.HasSuffix(id, "0")) && told(p.Release(ctx, promise.key)) {
		promise.released = true
	}
	return promise
}

func (promise promised) requireKept(t *testing.T, p twophase.Participant) {
	t.Helper()
	r, err := p.Reserve(t.Context(), dosa(promise.key))
	switch {
	case promise.released:
		require.ErrorIs(t, err, twophase.ErrReleased, "%+v", promise)
	case promise.resource != "":
		require.NoError(t, err, "%+v", promise)
		require.Equal(t, promise.resource, r.Resource(), "%+v", promise)
		require.Equal(t, promise.assigned, r.Assigned, "%+v", promise)
	}
}

func TestStoreInNodeRefusesWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	p := startNodeStore(t, filepath.Join(t.TempDir(), "store.log"), "dosa")
	const path, contentType = "reservations/order-1/store", "application/json"
	for name, test := range map[string]struct {
		method, path, contentType, body string
		want                            int
	}{
		"no body":           {http.MethodPut, path, contentType, "", http.StatusBadRequest},
		"no JSON":           {http.MethodPut, path, contentType, "dosa", http.StatusBadRequest},
		"no object":         {http.MethodPut, path, contentType, "null", http.StatusBadRequest},
		"trailing data":     {http.MethodPut, path, contentType, `{"hold_ms":1} {}`, http.StatusBadRequest},
		"an unknown field":  {http.MethodPut, path, contentType, `{"hold_ms":1,"held":2}`, http.StatusBadRequest},
		"no hold":           {http.MethodPut, path, contentType, `{"payload":1}`, http.StatusBadRequest},
		"a hold of nothing": {http.MethodPut, path, contentType, `{"hold_ms":0}`, http.StatusBadRequest},
		"a hold of ages":    {http.MethodPut, path, contentType, `{"hold_ms":1e15}`, http.StatusBadRequest},
		"another payload":   {http.MethodPut, path, contentType, `{"payload":7,"hold_ms":1}`, http.StatusConflict},
		"a negative count":  {http.MethodPut, path, contentType, `{"payload":{"kind":"dosa","count":-1},"hold_ms":1}`, http.StatusConflict},
		"no media type":     {http.MethodPut, path, "text/plain", `{"hold_ms":1}`, http.StatusUnsupportedMediaType},
		"no UTF-8":          {http.MethodPut, path, contentType, "{\"payload\":\"\xff\",\"hold_ms\":1}", http.StatusBadRequest},
		"too much":          {http.MethodPut, path, contentType, strings.Repeat(" ", 300<<10), http.StatusRequestEntityTooLarge},
		"another method":    {http.MethodPatch, path, contentType, "{}", http.StatusMethodNotAllowed},
		"another path":      {http.MethodPut, "reservations/order-1", contentType, "{}", http.StatusNotFound},
		"one more segment":  {http.MethodPost, path + "/assignments", contentType, "{}", http.StatusNotFound},
		"an id of no UTF-8": {http.MethodDelete, "reservations/%ff/store", contentType, "", http.StatusBadRequest},
		"an id of a line":   {http.MethodDelete, "reservations/a%0a/store", contentType, "", http.StatusBadRequest},
		"an id that is long": {
			http.MethodDelete, "reservations/" + strings.Repeat("x", 256) + "/store", contentType, "", http.StatusBadRequest,
		},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, p.address+test.path, strings.NewReader(test.body))
			require.NoError(t, err)
			req.Header.Set("Content-Type", test.contentType)
			req.Close = true
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			assert.Equal(t, test.want, resp.StatusCode)
			assert.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			var problem struct {
				Reason string `json:"reason"`
				Status int    `json:"status"`
			}
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&problem))
			assert.NotEmpty(t, problem.Reason)
			assert.Equal(t, test.want, problem.Status)
		})
	}
}
