package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase/benchmarks/internal/command"
)

// settings are what the flags say.
type settings struct {
	journals   []string
	callers    []int
	duration   time.Duration
	finished   int
	unfinished int
	ids        idOrder
	dir        string
	markdown   bool
}

const (
	maxCallers = 8000        // a journal refuses more writes that wait
	maxRows    = 100_000_000 // in a journal that is filled for measuring
)

// parse reads the flags. The error says which of them is wrong, and what would
// be right.
func parse(args []string, errs io.Writer) (settings, error) {
	var s settings
	var journals, callers, ids string
	flags := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	flags.StringVar(&journals, "journals", strings.Join(kindNames(), ","), "the journals to measure")
	flags.StringVar(&callers, "callers", "1,16,64,256,1024", "how many callers run transactions at once; one cell each")
	flags.DurationVar(&s.duration, "duration", 3*time.Second, "how long each series of a cell is measured")
	flags.IntVar(&s.finished, "finished", 100_000, "how many finished transactions are on record before the rate is measured again; 0 leaves that out")
	flags.IntVar(&s.unfinished, "unfinished", 100_000, "how many unfinished transactions are recovered; 0 leaves that out")
	flags.StringVar(&ids, "ids", string(randomIDs), "the order of the transactions' ids: random, the worst that an index can be given, or growing")
	flags.StringVar(&s.dir, "dir", "", "where to keep files while measuring: a directory on the disk to measure (default: the system's for temporary files)")
	flags.BoolVar(&s.markdown, "markdown", false, "print tables of Markdown")
	if err := command.Parse(flags, args, errs); err != nil {
		return settings{}, err
	}
	var err error
	if s.journals, err = parseJournals(journals); err != nil {
		return settings{}, err
	}
	if s.callers, err = parseCallers(callers); err != nil {
		return settings{}, err
	}
	s.ids = idOrder(ids)
	return s, s.check()
}

func (s *settings) check() error {
	if s.duration <= 0 {
		return fmt.Errorf("-duration %v: it must be above zero", s.duration)
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"-finished", s.finished}, {"-unfinished", s.unfinished}} {
		if n.value < 0 || n.value > maxRows {
			return fmt.Errorf("%s %d: it must be 0 to %d", n.flag, n.value, maxRows)
		}
	}
	if s.ids != randomIDs && s.ids != growingIDs {
		return fmt.Errorf("-ids %q: give %s or %s", s.ids, randomIDs, growingIDs)
	}
	if s.dir == "" {
		return nil
	}
	info, err := os.Stat(s.dir)
	if err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("-dir %s: it is not a directory", s.dir)
	}
	return nil
}

func parseJournals(list string) ([]string, error) {
	var journals []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if _, known := kinds[name]; !known {
			return nil, fmt.Errorf("-journals %q: there is no journal %q: known are %s", list, name, strings.Join(kindNames(), ", "))
		}
		if slices.Contains(journals, name) {
			return nil, fmt.Errorf("-journals %q: %s is given twice", list, name)
		}
		journals = append(journals, name)
	}
	return journals, nil
}

func parseCallers(list string) ([]int, error) {
	var callers []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > maxCallers {
			return nil, fmt.Errorf("-callers %q: %q is not a number of callers: give 1 to %d", list, text, maxCallers)
		}
		if slices.Contains(callers, n) {
			return nil, fmt.Errorf("-callers %q: %d is given twice", list, n)
		}
		callers = append(callers, n)
	}
	return callers, nil
}
