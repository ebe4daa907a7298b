package order

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// stockroom asks the services what they have.
type stockroom struct {
	client  *http.Client
	shelves []*shelf
}

// shelf is what is known of one service's stock.
type shelf struct {
	url  string
	mu   sync.Mutex
	last api.Service
}

const (
	stockWithin = time.Second
	maxStock    = 4 << 20 // bytes
)

func newStockroom(client *http.Client, storeURL, deliveryURL string) *stockroom {
	shelfOf := func(name, what, url string) *shelf {
		return &shelf{
			url:  strings.TrimRight(url, "/") + "/stock",
			last: api.Service{Name: name, What: what, Kinds: []api.Kind{}},
		}
	}
	return &stockroom{client: client, shelves: []*shelf{
		shelfOf(store.Name, "packets", storeURL),
		shelfOf(delivery.Name, "agents", deliveryURL),
	}}
}

// read asks both at once. One that does not answer in time has what was last known.
func (s *stockroom) read(ctx context.Context) api.Stock {
	stock := api.Stock{Services: make([]api.Service, len(s.shelves))}
	var done sync.WaitGroup
	for i, shelf := range s.shelves {
		done.Go(func() { stock.Services[i] = shelf.read(ctx, s.client) })
	}
	done.Wait()
	return stock
}

func (s *shelf) read(ctx context.Context, client *http.Client) api.Service {
	kinds, err := s.ask(ctx, client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.last.Up, s.last.Error = false, "it does not answer"
	} else {
		s.last.Up, s.last.Error, s.last.Kinds = true, "", kinds
	}
	return s.last
}

func (s *shelf) ask(ctx context.Context, client *http.Client) ([]api.Kind, error) {
	ctx, cancel := context.WithTimeout(ctx, stockWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("stock of %s: %s", s.url, response.Status)
	}
	var found api.Service
	if err := json.NewDecoder(io.LimitReader(response.Body, maxStock)).Decode(&found); err != nil {
		return nil, err
	}
	if found.Kinds == nil {
		found.Kinds = []api.Kind{}
	}
	return found.Kinds, nil
}
