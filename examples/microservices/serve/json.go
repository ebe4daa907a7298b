package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
)

// MaxBody is how many bytes of JSON a request may have.
const MaxBody = 16 << 10

// JSON answers with v.
func JSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		Problem(w, http.StatusInternalServerError, fmt.Sprintf("the answer cannot be encoded: %v", err))
		return
	}
	write(w, "application/json", status, body)
}

// Problem answers that something is wrong, and what.
func Problem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(api.Problem{Title: http.StatusText(status), Status: status, Detail: detail})
	if err != nil {
		body = []byte(`{}`)
	}
	write(w, "application/problem+json", status, body)
}

func write(w http.ResponseWriter, contentType string, status int, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // or nobody is there to be told
}

// Decode reads the JSON of a request into v, and reports whether it could: if not,
// it has answered why.
func Decode(w http.ResponseWriter, r *http.Request, v any) bool {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		Problem(w, http.StatusUnsupportedMediaType, "send JSON, with Content-Type: application/json")
		return false
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(v)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something after the JSON")
		}
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		Problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", MaxBody))
		return false
	}
	if err != nil {
		Problem(w, http.StatusBadRequest, fmt.Sprintf("the body is not what is expected here: %v", err))
		return false
	}
	return true
}
