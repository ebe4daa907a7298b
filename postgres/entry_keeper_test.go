package postgres

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// logbook is what a logger writes to.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestHousekeepingThatFailsIsLogged(t *testing.T) {
	t.Parallel()
	db := cluster.Pool(t)
	store, shop := &logbook{}, &logbook{}
	openPool(t, db, "store", WithLogger(slog.New(slog.NewTextHandler(store, nil))))
	openFence(t, db, "shop", shelves("shop"), WithLogger(slog.New(slog.NewTextHandler(shop, nil))))
	execute(t, db, `DROP TABLE twophase_reservations`)
	for name, log := range map[string]*logbook{"store": store, "shop": shop} {
		require.Eventually(t, func() bool { return log.String() != "" }, 10*time.Second, 10*time.Millisecond)
		require.Contains(t, log.String(), "level=WARN")
		require.Contains(t, log.String(), "participant="+name)
		require.Contains(t, log.String(), "twophase_reservations")
	}
}
