package city

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/seed-bcc3c603/twophase/postgres/pgtest"
)

// databases are those of the services, each named after its service.
type databases struct {
	mu       sync.Mutex
	clusters map[string]*pgtest.Cluster // by service; the same one if there is one only
}

// startDatabases starts the servers and makes the databases.
func startDatabases(ctx context.Context, oneServer bool) (*databases, error) {
	d := &databases{clusters: map[string]*pgtest.Cluster{}}
	group, groupCtx := errgroup.WithContext(ctx)
	for i, service := range Services() {
		if oneServer && i > 0 {
			break
		}
		group.Go(func() error {
			cluster, err := pgtest.Start(groupCtx)
			if err != nil {
				return fmt.Errorf("start PostgreSQL for %s: %w", service, err)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.clusters[service] = cluster
			return nil
		})
	}
	err := group.Wait()
	for _, service := range Services() {
		if err != nil {
			break
		}
		if oneServer {
			d.clusters[service] = d.clusters[Order]
		}
		err = createDatabase(ctx, d.clusters[service], service)
	}
	if err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

func createDatabase(ctx context.Context, cluster *pgtest.Cluster, service string) error {
	conn, err := pgx.Connect(ctx, cluster.URL("postgres"))
	if err != nil {
		return fmt.Errorf("create the database of %s: %w", service, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{databaseOf(service)}.Sanitize()); err != nil {
		return fmt.Errorf("create the database of %s: %w", service, err)
	}
	return nil
}

func databaseOf(service string) string {
	if service == Order {
		return "orders" // a keyword otherwise
	}
	return service
}

func (d *databases) url(service string) string {
	return d.clusters[service].URL(databaseOf(service))
}

func (d *databases) crash(service string, inOrder bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	mode := pgtest.Immediate
	if inOrder {
		mode = pgtest.Fast
	}
	return d.clusters[service].ShutDown(mode)
}

func (d *databases) start(ctx context.Context, service string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.clusters[service].StartAgain(ctx)
}

// stop ends the servers and removes what they have stored.
func (d *databases) stop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	stopped := map[*pgtest.Cluster]bool{}
	var errs []error
	for _, cluster := range d.clusters {
		if !stopped[cluster] {
			stopped[cluster] = true
			errs = append(errs, cluster.Stop())
		}
	}
	return errors.Join(errs...)
}
