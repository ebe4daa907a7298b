package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// template is JSON with places for a kind and a count: "{{kind}}", within a
// string, and {{count}}.
type template string

// defaultPayload is what a pool understands.
const defaultPayload = `{"kind":"{{kind}}","count":{{count}}}`

var places = regexp.MustCompile(`\{\{\s*(\w*)\s*\}\}`)

// Set implements [flag.Value].
func (t *template) Set(text string) error {
	for _, place := range places.FindAllStringSubmatch(text, -1) {
		if place[1] != "kind" && place[1] != "count" {
			return fmt.Errorf("%s is no place that is filled: there are {{kind}} and {{count}}", place[0])
		}
	}
	if filled := template(text).fill("kind", 1); !json.Valid(filled) {
		return fmt.Errorf("filled in it is no JSON: %s", filled)
	}
	*t = template(text)
	return nil
}

// String implements [flag.Value].
func (t *template) String() string {
	if t == nil {
		return ""
	}
	return string(*t)
}

// counts reports whether the template has a place for a count.
func (t template) counts() bool {
	for _, place := range places.FindAllStringSubmatch(string(t), -1) {
		if place[1] == "count" {
			return true
		}
	}
	return false
}

// fill returns the JSON that asks for count resources of a kind; nil if the
// template is empty.
func (t template) fill(kind string, count int) json.RawMessage {
	if t == "" {
		return nil
	}
	quoted, err := json.Marshal(kind)
	if err != nil { // never: a string
		return nil
	}
	escaped := string(quoted[1 : len(quoted)-1])
	return json.RawMessage(places.ReplaceAllStringFunc(string(t), func(place string) string {
		if strings.Contains(place, "count") {
			return strconv.Itoa(count)
		}
		return escaped
	}))
}

// compacted returns JSON without white space.
func compacted(text json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}
