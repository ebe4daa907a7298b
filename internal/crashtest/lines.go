//go:build unix

package crashtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// A file of lines, each the JSON of a value, outlives the process that writes
// it at any moment: a line is one write, and a torn last line was never
// acknowledged to anybody.

// appendLine adds a line to a file that was opened with O_APPEND.
func appendLine(file *os.File, value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return err
}

// readLines returns the whole lines of a file, and how many bytes they have.
func readLines[T any](path string) (values []T, size int64, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	for line := range bytes.Lines(text) {
		var value T
		if err := json.Unmarshal(line, &value); err != nil {
			return nil, 0, fmt.Errorf("%s, line %d: %w", path, len(values)+1, err)
		}
		values = append(values, value)
	}
	return values, int64(len(text)), nil
}
