package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/order"
	"github.com/seed-bcc3c603/twophase/examples/microservices/serve"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
	"github.com/seed-bcc3c603/twophase/postgres"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// Order has the settings of an order process.
type Order struct {
	Listen    string // address
	Database  string // connection string
	Conns     int
	Transport string // HTTP or GRPC
	// Store and Delivery are where the participants are called: an URL for HTTP,
	// an address for gRPC.
	Store, Delivery string
	// StoreStock and DeliveryStock are the URLs where they say what they have.
	StoreStock, DeliveryStock string
	// Control is the URL of whoever breaks things for a demonstration; empty for
	// no demonstration.
	Control string
	// ByHand allows orders with no coordinator, to measure it.
	ByHand bool
	Lives  order.Lifetimes
	// Page is served to browsers; it may be nil.
	Page http.Handler
}

// Run is the life of an order process.
func (s Order) Run(ctx context.Context, log *slog.Logger) error {
	if err := s.check(); err != nil {
		return err
	}
	var journal *postgres.Journal
	db, err := serve.OpenDatabase(ctx, log, s.Database, s.Conns, func(ctx context.Context, db *pgxpool.Pool) (err error) {
		journal, err = postgres.NewJournal(ctx, db)
		return err
	})
	if err != nil {
		return err
	}
	defer db.Close()
	defer journal.Close()
	packets, agents, disconnect, err := s.connect()
	if err != nil {
		return err
	}
	defer disconnect()
	service, err := order.New(journal, packets, agents, s.Lives, twophase.NewLogObserver(log))
	if err != nil {
		return err
	}
	return errors.Join(s.serve(ctx, log, db, service), closeService(service))
}

// closeWithin is how long an order under way may take to come to its end. What does
// not is carried on by the next process.
const closeWithin = 5 * time.Second

func closeService(service *order.Service) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	return service.Close(ctx)
}

// serve serves until ctx ends.
func (s Order) serve(ctx context.Context, log *slog.Logger, db *pgxpool.Pool, service *order.Service) error {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	handler := order.Handler{Orders: service, DB: db, Page: s.Page, ByHand: s.ByHand}
	var breaks func(context.Context) (api.Breaks, error)
	if s.Control != "" {
		control, err := url.Parse(s.Control)
		if err != nil {
			return fmt.Errorf("-control: %w", err)
		}
		handler.Breaks = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(control) }}
		breaks = func(ctx context.Context) (api.Breaks, error) { return askBreaks(ctx, client, s.Control) }
	}
	watch := order.NewWatch(service, client, s.StoreStock, s.DeliveryStock, breaks, log)
	handler.Watch = watch
	var done sync.WaitGroup
	defer done.Wait()
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	done.Go(func() { watch.Run(watching) })
	return serve.Server{
		Log: log, Address: s.Listen, Handler: handler.HTTP(), AnswerWithin: s.Lives.AnswerWithin() + 3*time.Second,
	}.Run(ctx)
}

// askBreaks asks what is broken on purpose.
func askBreaks(ctx context.Context, client *http.Client, control string) (breaks api.Breaks, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(control, "/")+"/breaks", nil)
	if err != nil {
		return breaks, err
	}
	response, err := client.Do(request)
	if err != nil {
		return breaks, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return breaks, fmt.Errorf("breaks: %s", response.Status)
	}
	return breaks, json.NewDecoder(io.LimitReader(response.Body, serve.MaxBody)).Decode(&breaks)
}

// connect returns the participants, and what closes the connections to them.
func (s Order) connect() (packets, agents twophase.Participant, disconnect func(), err error) {
	connect := connectHTTP
	if s.Transport == GRPC {
		connect = connectGRPC
	}
	packets, closeStore, err := connect(s.Store)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("connect to the %s: %w", store.Name, err)
	}
	agents, closeDelivery, err := connect(s.Delivery)
	if err != nil {
		closeStore()
		return nil, nil, nil, fmt.Errorf("connect to %s: %w", delivery.Name, err)
	}
	return packets, agents, func() { closeStore(); closeDelivery() }, nil
}

func connectHTTP(url string) (twophase.Participant, func(), error) {
	p, err := twophasehttp.NewParticipant(url)
	if err != nil {
		return nil, nil, err
	}
	return p, p.CloseIdleConnections, nil
}

func connectGRPC(address string) (twophase.Participant, func(), error) {
	conn, err := grpc.NewClient("dns:///"+address, append(twophasegrpc.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, nil, err
	}
	p, err := twophasegrpc.NewParticipant(conn)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return p, func() { _ = conn.Close() }, nil
}

// check names all settings that cannot be right.
func (s Order) check() error {
	errs := []error{checkURL("store-stock", s.StoreStock), checkURL("delivery-stock", s.DeliveryStock)}
	if s.Control != "" {
		errs = append(errs, checkURL("control", s.Control))
	}
	switch s.Transport {
	case HTTP:
		errs = append(errs, checkURL("store", s.Store), checkURL("delivery", s.Delivery))
	case GRPC:
	default:
		errs = append(errs, fmt.Errorf("-transport %q: it must be %s or %s", s.Transport, HTTP, GRPC))
	}
	return errors.Join(errs...)
}
