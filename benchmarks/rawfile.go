package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/seed-bcc3c603/twophase/internal/groupcommit"
)

// rawFile is the least that two durable records can cost on the disk: they are
// appended to a file, and callers share the syncs in the way in which those of
// a journal do.
type rawFile struct {
	file    *os.File
	group   *groupcommit.Group[[]byte]
	buffer  []byte
	commits atomic.Int64
}

func newRawFile(dir string) (*rawFile, error) {
	file, err := os.Create(filepath.Join(dir, "raw-file"))
	if err != nil {
		return nil, err
	}
	f := &rawFile{file: file}
	f.group = groupcommit.New(f.commit, groupcommit.Options{MaxBatch: 512, MaxQueue: maxCallers})
	return f, nil
}

// commit appends a batch.
func (f *rawFile) commit(_ context.Context, batch [][]byte) error {
	f.buffer = f.buffer[:0]
	for _, record := range batch {
		f.buffer = append(f.buffer, record...)
	}
	if _, err := f.file.Write(f.buffer); err != nil {
		return err
	}
	f.commits.Add(1)
	return syncData(f.file)
}

func (f *rawFile) spent(context.Context) (spent, error) {
	bytes, err := bytesWritten()
	return spent{f.commits.Load(), bytes}, err
}

func (f *rawFile) close() error {
	f.group.Close()
	if err := f.file.Close(); err != nil {
		return err
	}
	return os.Remove(f.file.Name())
}

// rawFileSubject has callers append the two records of an order.
func rawFileSubject(dir string, callers int) (*subject, error) {
	const id = "order-0123456789abcdef"
	begin, err := json.Marshal(orderRecord(id))
	if err != nil {
		return nil, err
	}
	decide, err := json.Marshal(orderDecision())
	if err != nil {
		return nil, err
	}
	decide = append([]byte(id), decide...)
	f, err := newRawFile(dir)
	if err != nil {
		return nil, err
	}
	pair := func(ctx context.Context) (int, time.Duration, error) {
		start := time.Now()
		if err := f.group.Do(ctx, begin); err != nil {
			return 0, 0, err
		}
		err := f.group.Do(ctx, decide)
		return 1, time.Since(start), err
	}
	return &subject{
		name: "raw file", note: "append + fdatasync of the same two records",
		workers: alike(callers, pair), spent: f.spent, close: f.close,
	}, nil
}
