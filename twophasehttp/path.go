package twophasehttp

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/internal/names"
)

// What the paths are made of. A key is two segments, each percent-encoded by
// itself, so that ids may have any characters.
const (
	pathReservations = "/reservations/"
	pathAssignment   = "/assignment"
	pathDescription  = "/openapi.yaml"

	// maxPath is a path whose every character is encoded.
	maxPath = len(pathReservations) + 3*twophase.MaxIDLength + 1 + 3*twophase.MaxIDLength + len(pathAssignment)
)

// pathOf returns the path of a call, decoded and as it is sent.
func pathOf(key twophase.Key, c twophase.Call) (path, escaped string) {
	path = pathReservations + key.Transaction + "/" + key.Step
	escaped = pathReservations + escapeKey(key)
	if c == twophase.CallAssign {
		path, escaped = path+pathAssignment, escaped+pathAssignment
	}
	return path, escaped
}

// escapeKey returns a key as two segments of a path.
func escapeKey(key twophase.Key) string { return escapeID(key.Transaction) + "/" + escapeID(key.Step) }

// escapeID returns an id as one segment of a path. Dots alone would be taken
// for the folder itself or the one above.
func escapeID(id string) string {
	if strings.Trim(id, ".") == "" {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}

// parsePath is the opposite of pathOf, on the path as it was sent.
func parsePath(escaped string) (key twophase.Key, assignment bool, err error) {
	rest, ok := strings.CutPrefix(escaped, pathReservations)
	if !ok {
		rest, ok = strings.CutPrefix(escaped, pathReservations[1:]) // http.StripPrefix took the slash
	}
	segments := strings.SplitN(rest, "/", 4)
	switch {
	case !ok || len(segments) < 2 || len(segments) > 3:
		return key, false, errNoPath
	case len(segments) == 3:
		if "/"+segments[2] != pathAssignment {
			return key, false, errNoPath
		}
		assignment = true
	}
	key, err = parseKey(segments[0], segments[1])
	return key, assignment, err
}

var errNoPath = fmt.Errorf("no such path: it is %s{transaction}/{step}, or the same with %s, "+
	"each id percent-encoded as one segment, below where the handler is mounted", pathReservations, pathAssignment)

// parseKey decodes and checks the segments of a key.
func parseKey(transaction, step string) (key twophase.Key, err error) {
	if key.Transaction, err = url.PathUnescape(transaction); err != nil {
		return key, fmt.Errorf("the transaction's id: %w", err)
	}
	if key.Step, err = url.PathUnescape(step); err != nil {
		return key, fmt.Errorf("the step's name: %w", err)
	}
	if reason := badKey(key); reason != "" {
		return key, fmt.Errorf("%s", reason)
	}
	return key, nil
}

// keyHeader returns the Idempotency-Key of a key: a string of RFC 8941.
func keyHeader(key twophase.Key) string { return `"` + escapeKey(key) + `"` }

// namesKey reports whether an Idempotency-Key is that of key. Quotes may be
// missing, and characters encoded that need not be.
func namesKey(header string, key twophase.Key) bool {
	if header == keyHeader(key) {
		return true
	}
	if n := len(header); n >= 2 && header[0] == '"' && header[n-1] == '"' {
		header = header[1 : n-1]
	}
	transaction, step, ok := strings.Cut(header, "/")
	if !ok {
		return false
	}
	named, err := parseKey(transaction, step)
	return err == nil && named == key
}

// badKey says what is wrong with a key, and "" if nothing is.
func badKey(key twophase.Key) string {
	if reason := names.Bad(key.Transaction, twophase.MaxIDLength); reason != "" {
		return "the transaction's id " + reason
	}
	if reason := names.Bad(key.Step, twophase.MaxIDLength); reason != "" {
		return "the step's name " + reason
	}
	return ""
}
