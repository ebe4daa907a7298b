package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// bench measures journals, one after the other.
type bench struct {
	settings
	place    *place
	out      io.Writer
	progress io.Writer
	goals    []goal
}

// header says what the figures are of.
func (b *bench) header() {
	callers := strings.Trim(strings.ReplaceAll(fmt.Sprint(b.callers), " ", ","), "[]")
	lines := []string{
		time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		fmt.Sprintf("%s, %s/%s, GOMAXPROCS %d", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0)),
		fmt.Sprintf("%s, load average at the start %s", machine(), load()),
		"files in " + b.place.String(),
		fmt.Sprintf("-journals %s -callers %s -duration %v -finished %d -unfinished %d -ids %s",
			strings.Join(b.journals, ","), callers, b.duration, b.finished, b.unfinished, b.ids),
	}
	for _, line := range lines {
		if b.markdown {
			line = "- " + line
		}
		printf(b.out, "%s\n", line)
	}
}

// measure measures one kind of journal.
func (b *bench) measure(ctx context.Context, s store) error {
	title := fmt.Sprintf("%s: %s", s.kind(), s.about())
	if b.markdown {
		printf(b.out, "\n# %s\n", title)
	} else {
		printf(b.out, "\n%s\n%s\n", title, strings.Repeat("=", len([]rune(title))))
	}
	return errors.Join(b.throughput(ctx, s), b.growth(ctx, s), b.recovery(ctx, s))
}

func (b *bench) say(format string, args ...any) {
	printf(b.progress, "… "+format+"\n", args...)
}

// throughput measures the rate and the latency of placed transactions, for each
// number of callers, in turns with what they are measured by.
func (b *bench) throughput(ctx context.Context, s store) error {
	t := &table{
		title: "Placed transactions",
		columns: []string{
			">callers", "what", ">per second", ">p50", ">p99", ">writes per commit", ">written each", ">processor each", "note",
		},
	}
	for _, callers := range b.callers {
		b.say("%s: %d callers", s.kind(), callers)
		subjects, err := b.cell(ctx, s, callers)
		if err != nil {
			return err
		}
		for i, one := range subjects {
			first := ""
			if i == 0 {
				first = count(float64(callers))
			}
			r := &one.series
			t.add(first, one.name, count(r.perSecond()), length(percentile(r.took, 0.50)), length(percentile(r.took, 0.99)),
				orNone(r.batch(), "%.1f"), size(r.bytesEach()), length(r.processorEach()), one.note)
		}
		b.judge(s.kind(), callers, subjects)
	}
	t.write(b.out, b.markdown)
	return nil
}

const cellName = "cell"

// cell measures one number of callers. The first of the subjects is the
// journal.
func (b *bench) cell(ctx context.Context, s store, callers int) (subjects []*subject, err error) {
	j, err := s.open(ctx, cellName)
	if err != nil {
		return nil, err
	}
	journal, err := placing("transactions", callers, j, b.ids)
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	subjects = []*subject{journal}
	baselines, err := s.baselines(ctx, callers, journal.series.batch)
	subjects = append(subjects, baselines...)
	if err == nil {
		err = takeTurns(ctx, b.duration, subjects...)
	}
	return subjects, errors.Join(err, closeAll(subjects), s.remove(context.WithoutCancel(ctx), cellName))
}

func closeAll(subjects []*subject) error {
	var errs []error
	for _, s := range subjects {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// closing bounds how long a coordinator may take to end.
const closing = 30 * time.Second

func closeBoth(c *twophase.Coordinator, j *opened) error {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	return errors.Join(c.Close(ctx), j.close())
}

// usual is the number of callers at which the goals are set: 256, or what of
// the cells comes nearest from below.
func (b *bench) usual() int {
	const wanted = 256
	nearest := 0
	for _, n := range b.callers {
		if n <= wanted {
			nearest = max(nearest, n)
		}
	}
	if nearest == 0 {
		return slices.Min(b.callers)
	}
	return nearest
}
