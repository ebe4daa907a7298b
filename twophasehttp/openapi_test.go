package twophasehttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// openAPI is a description that real exchanges are compared with.
type openAPI struct {
	document map[string]any
	schemas  map[string]*jsonschema.Resolved // by their text

	mu   sync.Mutex
	seen map[string]bool // "put 200", and so on
}

func readOpenAPI(t testing.TB, text string) *openAPI {
	t.Helper()
	o := &openAPI{schemas: map[string]*jsonschema.Resolved{}, seen: map[string]bool{}}
	require.NoError(t, yaml.Unmarshal([]byte(text), &o.document))
	return o
}

// at returns what is at a path of the document, and follows references.
func (o *openAPI) at(from any, path ...string) any {
	for _, name := range path {
		object, _ := o.follow(from).(map[string]any)
		from = object[name]
	}
	return o.follow(from)
}

func (o *openAPI) follow(value any) any {
	object, _ := value.(map[string]any)
	ref, ok := object["$ref"].(string)
	if !ok {
		return value
	}
	return o.at(o.document, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
}

// validate checks a value against a schema of the document.
func (o *openAPI) validate(schema any, value any) error {
	resolved, err := o.resolve(schema)
	if err != nil {
		return err
	}
	return resolved.Validate(value)
}

// resolve makes a schema one that can be used, with those that it refers to.
func (o *openAPI) resolve(schema any) (*jsonschema.Resolved, error) {
	name, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if resolved, ok := o.schemas[string(name)]; ok {
		return resolved, nil
	}
	text, err := json.Marshal(map[string]any{
		"allOf": []any{schema}, "$defs": o.at(o.document, "components", "schemas"),
	})
	if err != nil {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte("#/components/schemas/"), []byte("#/$defs/"))
	var parsed jsonschema.Schema
	if err := json.Unmarshal(text, &parsed); err != nil {
		return nil, err
	}
	resolved, err := parsed.Resolve(nil)
	o.schemas[string(name)] = resolved
	return resolved, err
}

func (o *openAPI) validateJSON(schema any, text []byte) error {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return err
	}
	return o.validate(schema, value)
}

var described = regexp.MustCompile(`^/reservations/[^/]*/[^/]*(/assignment)?$`)

// operation returns what is described for a request, or nil.
func (o *openAPI) operation(r *http.Request) any {
	template := described.ReplaceAllString(r.URL.EscapedPath(), "/reservations/{transaction}/{step}$1")
	return o.at(o.document, "paths", template, strings.ToLower(r.Method))
}

// check compares one exchange with the description.
func (o *openAPI) check(r *http.Request, sent []byte, w *httptest.ResponseRecorder) error {
	operation := o.operation(r)
	if operation == nil {
		if w.Code/100 == 2 {
			return errors.New("it is served, and not described")
		}
		return nil
	}
	status := strconv.Itoa(w.Code)
	response := o.at(operation, "responses", status)
	if response == nil {
		return errors.New("the status is not described")
	}
	o.mu.Lock()
	o.seen[strings.ToLower(r.Method)+" "+status] = true
	o.mu.Unlock()
	if w.Code/100 == 2 {
		if err := o.checkRequest(r, operation, sent); err != nil {
			return fmt.Errorf("the request is answered, and not as described: %w", err)
		}
	}
	headers, _ := o.at(response, "headers").(map[string]any)
	for name, header := range headers {
		value := w.Header().Get(name)
		required := o.at(header, "required") == true
		if value == "" && !required {
			continue
		}
		if err := o.validate(o.at(header, "schema"), value); err != nil || value == "" {
			return fmt.Errorf("the header %s is %q: %w", name, value, err)
		}
	}
	content, ok := o.at(response, "content", w.Header().Get("Content-Type")).(map[string]any)
	if !ok {
		return fmt.Errorf("the type %q is not described", w.Header().Get("Content-Type"))
	}
	if schema, ok := content["schema"]; ok {
		return o.validateJSON(schema, w.Body.Bytes())
	}
	return nil
}

// checkRequest compares a request with the description.
func (o *openAPI) checkRequest(r *http.Request, operation any, sent []byte) error {
	parameters, _ := o.at(operation, "parameters").([]any)
	for _, p := range parameters {
		name := o.at(p, "name").(string)
		if value := r.Header.Get(name); value != "" {
			if err := o.validate(o.at(p, "schema"), value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if len(sent) == 0 {
		if o.at(operation, "requestBody", "required") == true {
			return errors.New("there is no body")
		}
		return nil
	}
	return o.validateJSON(o.at(operation, "requestBody", "content", "application/json", "schema"), sent)
}

// checked compares every exchange of a handler with the description.
func (o *openAPI) checked(t testing.TB, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent bytes.Buffer
		r.Body = io.NopCloser(io.TeeReader(r.Body, &sent))
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		if err := o.check(r, sent.Bytes(), recorder); err != nil {
			t.Errorf("%s %s %s: %d %s: %v", r.Method, r.URL, &sent, recorder.Code, recorder.Body, err)
		}
		maps.Copy(w.Header(), recorder.Header())
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	})
}

func TestTheHandlerDoesWhatIsDescribedAndNothingElse(t *testing.T) {
	t.Parallel()
	o := readOpenAPI(t, twophasehttp.Description())
	t.Run("in the whole contract", func(t *testing.T) {
		twophasetest.TestParticipant(t, func(t testing.TB, free int) twophasetest.Subject {
			n := newPipes()
			return subject(newClientOn(t, n, serveOn(t, n, o.checked(t, newHandler(t, newPool(t, free))))))
		})
	})
	t.Run("for every call", func(t *testing.T) {
		handler := o.checked(t, newHandler(t, newPool(t, 1)))
		for _, r := range everyCall(t) {
			ask(handler, r)
			ask(handler, request(t, http.MethodGet, onePath, ""))
		}
		ask(handler, request(t, http.MethodGet, "/reservations/order-2/store", ""))
		ask(handler, request(t, http.MethodGet, "/openapi.yaml", ""))
	})
	t.Run("for every error", func(t *testing.T) {
		for _, err := range []error{
			errors.New("fault"), context.DeadlineExceeded, &twophase.RetryAfterError{After: time.Second, Err: errors.New("later")},
		} {
			for _, r := range everyCall(t) {
				ask(o.checked(t, newHandler(t, &looking{stub{err: err}}, silent)), r)
			}
		}
		for _, r := range everyCall(t)[:2] { // what can be refused
			ask(o.checked(t, newHandler(t, &stub{err: twophase.ErrRefused})), r)
		}
	})
	t.Run("for requests that are not served", func(t *testing.T) {
		for _, spoil := range spoiling {
			for _, r := range everyCall(t) {
				spoil(r)
				w := ask(o.checked(t, newHandler(t, newPool(t, 1))), r)
				assert.Equal(t, 4, w.Code/100, "%s %s", r.Method, r.URL)
			}
		}
		ask(o.checked(t, newHandler(t, &stub{})), request(t, http.MethodGet, onePath, ""))
	})
	t.Run("for a call too many", func(t *testing.T) {
		p := &looking{}
		handler := o.checked(t, newHandler(t, p, twophasehttp.WithMaxCalls(1)))
		p.wait = func(context.Context) {
			for _, r := range everyCall(t) {
				assert.Equal(t, http.StatusTooManyRequests, ask(handler, r).Code)
			}
		}
		ask(handler, everyCall(t)[0])
	})
	assert.Equal(t, []string{"put 201"}, o.unseen(), "described, and not met: only what another service may do")
}

// unseen returns what is described and was not met.
func (o *openAPI) unseen() []string {
	var unseen []string
	for _, item := range o.at(o.document, "paths").(map[string]any) {
		for method, operation := range item.(map[string]any) {
			responses, _ := o.at(operation, "responses").(map[string]any)
			for status := range responses {
				if !o.seen[method+" "+status] {
					unseen = append(unseen, method+" "+status)
				}
			}
		}
	}
	return slices.Sorted(slices.Values(unseen))
}

// looking is a stub that can be asked what it has.
type looking struct{ stub }

func (p *looking) Lookup(context.Context, twophase.Key) (twophasehttp.Holding, bool, error) {
	return twophasehttp.Holding{}, false, p.err
}

// everyCall is one of each.
func everyCall(t testing.TB) []*http.Request {
	t.Helper()
	return []*http.Request{
		request(t, http.MethodPut, onePath, oneBody),
		request(t, http.MethodPost, assignmentPath, "{}"),
		request(t, http.MethodGet, onePath, ""),
		request(t, http.MethodDelete, onePath, ""),
	}
}

// spoiling are ways to make a request one that is not served.
var spoiling = []func(r *http.Request){
	func(r *http.Request) { r.Header.Set("Idempotency-Key", "another") },
	func(r *http.Request) { r.Header.Set("Request-Timeout", "soon") },
	func(r *http.Request) { r.ContentLength = 1 << 30 },
	func(r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, "order-1", strings.Repeat("x", 9999), 1)
	},
	func(r *http.Request) {
		r.ContentLength = 1
		r.Header.Set("Content-Type", "text/html")
	},
	func(r *http.Request) {
		r.ContentLength = 1
		r.Header.Set("Content-Type", "application/json")
		r.Body = io.NopCloser(broken{os.ErrDeadlineExceeded})
	},
}

// What the description says of bodies is what both sides do, no more and no less.
func TestTheSchemasAreAsStrictAsTheCode(t *testing.T) {
	t.Parallel()
	o := readOpenAPI(t, twophasehttp.Description())
	bodyOf := func(method, status string) any {
		for _, item := range o.at(o.document, "paths").(map[string]any) {
			if operation := o.at(item, method); operation != nil {
				if status == "" {
					return o.at(operation, "requestBody", "content", "application/json", "schema")
				}
				return o.at(operation, "responses", status, "content", "application/json", "schema")
			}
		}
		return nil
	}
	for _, body := range []string{
		oneBody, `{"hold_ms":1}`, `{"hold_ms":1,"payload":null}`, `{"hold_ms":2592000000}`,
		`{}`, `[]`, `1`, `null`, `{"payload":1}`, `{"hold_ms":0}`, `{"hold_ms":2592000001}`, `{"hold_ms":"1"}`, `{"hold_ms":1.5}`,
		`{"hold_ms":null}`, `{"hold_ms":1,"more":1}`,
	} {
		served := ask(newHandler(t, &stub{}), request(t, http.MethodPut, onePath, body)).Code == http.StatusOK
		assert.Equal(t, served, o.validateJSON(bodyOf("put", ""), []byte(body)) == nil, body)
	}
	for _, body := range []string{
		`{"state":"reserved","resources":["packet-1"],"time_left_ms":1}`, `{"state":"assigned","resources":[]}`,
		`{"state":"reserved","resources":[],"time_left_ms":0,"details":null,"more":1}`,
		`{"state":"reserved","resources":[],"time_left_ms":-1}`, `{"state":"reserved","resources":[]}`, `{"state":"assigned"}`,
		`{"state":"released","resources":[]}`, `{"resources":[]}`, `{}`, `[]`, `{"state":"assigned","resources":[1]}`,
		`{"state":"assigned","resources":"packet-1"}`, `{"state":1,"resources":[]}`,
	} {
		_, err := replying(t, http.StatusOK, body).Reserve(t.Context(), oneRequest)
		assert.Equal(t, err == nil, o.validateJSON(bodyOf("put", "200"), []byte(body)) == nil, body)
	}
}

func TestTheDescriptionNamesEveryReasonAndTheGuideExplainsIt(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/http.md")
	require.NoError(t, err)
	for _, reason := range []string{
		twophasehttp.ReasonRefused, twophasehttp.ReasonMismatch, twophasehttp.ReasonExpired, twophasehttp.ReasonReleased,
		twophasehttp.ReasonUnknown, twophasehttp.ReasonInvalid, twophasehttp.ReasonIncomplete, twophasehttp.ReasonUnavailable,
		twophasehttp.ReasonBusy, twophasehttp.ReasonTimeout, twophasehttp.ReasonInternal,
	} {
		assert.Contains(t, string(guide), "\n### "+reason+"\n", "the section that the type links to")
		assert.Contains(t, twophasehttp.Description(), reason)
	}
}
