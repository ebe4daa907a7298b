package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase/benchmarks/internal/command"
)

// settings are what the flags say.
type settings struct {
	databases                 []string
	resources, kinds, callers []int
	duration                  time.Duration
	soldOut                   bool
	dir                       string
}

const (
	maxResources = 10_000_000
	maxKinds     = 10_000
	maxCallers   = 400 // the server takes no more connections
)

// parse reads the flags. The error says which of them is wrong, and what would be
// right.
func parse(args []string, errs io.Writer) (settings, error) {
	var s settings
	known := slices.Sorted(maps.Keys(databases))
	flags := flag.NewFlagSet("participants", flag.ContinueOnError)
	names := flags.String("databases", strings.Join(known, ","), "the databases to measure")
	resources := flags.String("resources", "1000,1000000", "how many resources there are, half of them taken; at least four a kind")
	kinds := flags.String("kinds", "1,1000", "how many kinds they are of")
	callers := flags.String("callers", "1,16,64,256", "how many callers reserve and assign at once")
	flags.DurationVar(&s.duration, "duration", 2*time.Second, "how long each series of a cell is measured: whole seconds")
	flags.BoolVar(&s.soldOut, "soldout", true, "measure refusals, too")
	flags.StringVar(&s.dir, "dir", "", "where to keep files while measuring: a directory on the disk to measure (default: the system's for temporary files)")
	if err := command.Parse(flags, args, errs); err != nil {
		return settings{}, err
	}
	if s.duration < time.Second || s.duration%time.Second != 0 {
		return settings{}, fmt.Errorf("-duration %v: give whole seconds, 1 or more", s.duration)
	}
	s.databases = strings.Split(*names, ",")
	for _, name := range s.databases {
		if !slices.Contains(known, name) {
			return settings{}, fmt.Errorf("-databases: there is no %q: known are %s", name, strings.Join(known, ", "))
		}
	}
	var errsOf [3]error
	s.resources, errsOf[0] = numbers("resources", *resources, maxResources)
	s.kinds, errsOf[1] = numbers("kinds", *kinds, maxKinds)
	s.callers, errsOf[2] = numbers("callers", *callers, maxCallers)
	return s, errors.Join(errsOf[:]...)
}

func numbers(name, list string, most int) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > most {
			return nil, fmt.Errorf("-%s %q: %q is not a number from 1 to %d", name, list, text, most)
		}
		all = append(all, n)
	}
	return all, nil
}
