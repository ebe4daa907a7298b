package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// table is text in rows and columns. Columns of figures are aligned to the
// right.
type table struct {
	title   string
	columns []string // their heads; one that begins with ">" is of figures
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table, as Markdown if asked to.
func (t *table) write(w io.Writer, markdown bool) {
	heads, right := make([]string, len(t.columns)), make([]bool, len(t.columns))
	for i, column := range t.columns {
		heads[i], right[i] = strings.CutPrefix(column, ">")
	}
	widths := t.widths(heads)
	if markdown {
		printf(w, "\n## %s\n\n", t.title)
	} else {
		printf(w, "\n%s\n\n", t.title)
	}
	line := func(cells []string) {
		padded := make([]string, len(heads))
		for i := range heads {
			padded[i] = pad(cell(cells, i), widths[i], right[i])
		}
		if markdown {
			printf(w, "| %s |\n", strings.Join(padded, " | "))
		} else {
			printf(w, "%s\n", strings.TrimRight(strings.Join(padded, "  "), " "))
		}
	}
	line(heads)
	rules := make([]string, len(heads))
	for i, width := range widths {
		rules[i] = strings.Repeat("-", width)
		if markdown && right[i] {
			rules[i] = strings.Repeat("-", width-1) + ":"
		}
	}
	line(rules)
	for _, row := range t.rows {
		line(row)
	}
}

// printf prints for whoever may read it.
func printf(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func (t *table) widths(heads []string) []int {
	widths := make([]int, len(heads))
	for i, head := range heads {
		widths[i] = max(utf8.RuneCountInString(head), 3)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell(row, i)))
		}
	}
	return widths
}

// cell returns a cell of a row that may be short.
func cell(row []string, i int) string {
	if i < len(row) {
		return row[i]
	}
	return ""
}

func pad(text string, width int, right bool) string {
	space := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
	if right {
		return space + text
	}
	return text + space
}

// none stands in a cell that has no figure.
const none = "–"

// count writes a number with its thousands apart.
func count(n float64) string {
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}

// orNone writes a number, and none for zero: it was not measured.
func orNone(n float64, format string) string {
	if n == 0 {
		return none
	}
	return fmt.Sprintf(format, n)
}

// length writes a duration in three figures.
func length(d time.Duration) string {
	switch {
	case d == 0:
		return none
	case d < time.Millisecond:
		return threeFigures(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return threeFigures(float64(d)/float64(time.Millisecond)) + " ms"
	}
	return threeFigures(d.Seconds()) + " s"
}

// size writes a number of bytes in three figures.
func size(bytes float64) string {
	switch {
	case bytes == 0:
		return none
	case bytes < 1e4:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < 1e6:
		return threeFigures(bytes/1e3) + " kB"
	case bytes < 1e9:
		return threeFigures(bytes/1e6) + " MB"
	}
	return threeFigures(bytes/1e9) + " GB"
}

func threeFigures(x float64) string {
	switch {
	case x < 9.995:
		return fmt.Sprintf("%.2f", x)
	case x < 99.95:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}
