package twophase

import "sync"

// workers run jobs side by side, each on a goroutine of its own. Some of the
// goroutines are kept for later jobs: they have the stack that a job needs, and
// a new one would spend more time on growing it than on the job.
type workers struct {
	jobs chan job
	keep chan struct{} // a place for each goroutine that may idle
	all  sync.WaitGroup
}

// job is what to do for a run, side by side.
type job struct {
	run     *run
	actions []action
}

// keptWorkers is how many goroutines idle at most, with some 8 KiB of stack each.
// With fewer, hundreds of callers who wait for one commit make new ones each time.
const keptWorkers = 256

func newWorkers() *workers {
	return &workers{jobs: make(chan job), keep: make(chan struct{}, keptWorkers)}
}

// start does a job soon, and never waits for others to end.
func (w *workers) start(j job) {
	select {
	case w.jobs <- j:
	default:
		w.all.Go(func() { w.work(j) })
	}
}

// work does a job, and more if they come while there is room to idle.
func (w *workers) work(j job) {
	j.run.work(j.actions)
	select {
	case w.keep <- struct{}{}:
	default:
		return
	}
	for j := range w.jobs {
		j.run.work(j.actions)
	}
}

// close ends the goroutines when they have done their jobs. No job may be
// started any more.
func (w *workers) close() {
	close(w.jobs)
	w.all.Wait()
}
