// Package names has the rule for ids of transactions and names of steps and
// participants, which coordinators and transports hold to alike.
package names

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bad says what is wrong with an id or a name that may have so many bytes, and "" if
// nothing is.
func Bad(name string, most int) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > most:
		return fmt.Sprintf("has %d bytes: at most %d are allowed", len(name), most)
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has control characters"
	}
	return ""
}
