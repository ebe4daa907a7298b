package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is read; beyond them the input is refused.
const (
	maxFileSize = 16 << 20 // bytes
	maxText     = 100      // bytes in a name
	maxProblems = 10       // that are told one by one
)

// problems are what is wrong with the input, each with its file and line.
type problems struct {
	told   []error
	untold int
}

func (p *problems) add(err error) {
	if len(p.told) == maxProblems {
		p.untold++
		return
	}
	p.told = append(p.told, err)
}

// err returns all of them, and nil if there are none.
func (p *problems) err() error {
	if p.untold > 0 {
		return errors.Join(append(p.told, fmt.Errorf("and %d more", p.untold))...)
	}
	return errors.Join(p.told...)
}

// sheet is a CSV file: a header, and rows below it.
type sheet struct {
	file     string
	columns  map[string]int // where each is
	rows     []*row
	empty    bool           // there is nothing below the header
	lines    map[string]int // of what must be unique
	problems *problems
}

// row is one line of a sheet. Its methods return what a column has. The first
// thing that is wrong with it becomes one of the sheet's problems.
type row struct {
	*sheet
	line   int
	fields []string
	failed bool
}

// readSheet reads a file that has at least the columns named, in any order.
func readSheet(file string, from io.Reader, p *problems, columns ...string) *sheet {
	s := &sheet{file: file, lines: map[string]int{}, problems: p}
	content, err := io.ReadAll(io.LimitReader(from, maxFileSize+1))
	switch {
	case err != nil:
		p.add(err) // it names the file
		return s
	case len(content) > maxFileSize:
		s.fail(1, "it is too large: at most %d MiB are read", maxFileSize>>20)
		return s
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // some spreadsheets begin with it
	reader := csv.NewReader(bytes.NewReader(content))
	reader.TrimLeadingSpace = true
	if s.readHeader(reader, columns) {
		s.readRows(reader)
	}
	return s
}

func (s *sheet) readHeader(reader *csv.Reader, columns []string) bool {
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		s.fail(1, "it is empty: its first line must name the columns %s", strings.Join(columns, ","))
		return false
	}
	if err != nil {
		s.addParseError(err)
		return false
	}
	s.columns = make(map[string]int, len(header))
	ok := true
	for i, name := range header {
		name = strings.TrimSpace(name)
		if _, twice := s.columns[name]; twice {
			s.fail(1, "there are two columns %q", name)
			ok = false
		}
		s.columns[name] = i
	}
	for _, name := range columns {
		if _, found := s.columns[name]; !found {
			s.fail(1, "there is no column %q: the first line must name the columns %s",
				name, strings.Join(columns, ","))
			ok = false
		}
	}
	return ok
}

func (s *sheet) readRows(reader *csv.Reader) {
	for first := true; ; first = false {
		fields, err := reader.Read()
		if errors.Is(err, io.EOF) {
			s.empty = first
			return
		}
		if err != nil && !errors.Is(err, csv.ErrFieldCount) {
			s.addParseError(err) // where the next line begins is anybody's guess
			return
		}
		line, _ := reader.FieldPos(0)
		if err != nil {
			s.fail(line, "the number of fields is %d, and %d in the first line", len(fields), reader.FieldsPerRecord)
			continue
		}
		s.rows = append(s.rows, &row{sheet: s, line: line, fields: fields})
	}
}

func (s *sheet) addParseError(err error) {
	line := 1
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		line, err = parse.StartLine, parse.Err
	}
	s.fail(line, "%w", err)
}

// needRows makes a problem of a sheet that only has a header.
func (s *sheet) needRows(of string) {
	if s.empty {
		s.fail(1, "there are no %s below the header", of)
	}
}

func (s *sheet) fail(line int, format string, args ...any) {
	s.problems.add(fmt.Errorf("%s:%d: "+format, append([]any{s.file, line}, args...)...))
}

func (r *row) fail(format string, args ...any) {
	if !r.failed {
		r.sheet.fail(r.line, format, args...)
	}
	r.failed = true
}

// text returns a column that must not be empty.
func (r *row) text(column string) string { return r.check(column, r.fields[r.columns[column]]) }

// list returns a column of one thing or several, with a + in between.
func (r *row) list(column, thing string) []string {
	things := strings.Split(r.fields[r.columns[column]], "+")
	for i := range things {
		things[i] = r.check(thing, things[i])
	}
	return things
}

func (r *row) check(what, text string) string {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		r.fail("the %s is empty", what)
	case len(text) > maxText:
		r.fail("the %s has %d bytes: at most %d are allowed", what, len(text), maxText)
	case !utf8.ValidString(text):
		r.fail("the %s %q is not UTF-8", what, text)
	case strings.ContainsFunc(text, unicode.IsControl):
		r.fail("the %s %q has control characters", what, text)
	}
	return text
}

// unique returns a column that names the line: no other may have the same.
func (r *row) unique(column string) string {
	text := r.text(column)
	if before, twice := r.lines[text]; twice {
		r.fail("the %s %q is on line %d already", column, text, before)
	} else {
		r.lines[text] = r.line
	}
	return text
}

// number returns a column that must be a whole number from 0 to limit.
func (r *row) number(column string, limit int) int {
	text := strings.TrimSpace(r.fields[r.columns[column]])
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > limit {
		r.fail("%s is %q: it must be a whole number from 0 to %d", column, text, limit)
		return 0
	}
	return n
}
