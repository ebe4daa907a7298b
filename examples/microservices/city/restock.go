package city

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
	"github.com/seed-bcc3c603/twophase/examples/microservices/delivery"
	"github.com/seed-bcc3c603/twophase/examples/microservices/store"
)

// Restock adds count of each kind at both services.
func (c *City) Restock(ctx context.Context, count int) error {
	return Restock(ctx, c.URL(store.Name), c.URL(delivery.Name), count)
}

// Restock adds count of each kind at the services with these URLs.
func Restock(ctx context.Context, storeURL, deliveryURL string, count int) error {
	return errors.Join(
		restock(ctx, storeURL, count, store.Foods()...),
		restock(ctx, deliveryURL, count, delivery.Areas()...),
	)
}

func restock(ctx context.Context, url string, count int, kinds ...string) error {
	for _, kind := range kinds {
		if err := post(ctx, url+"/restock", api.Restock{Kind: kind, Count: count}); err != nil {
			return err
		}
	}
	return nil
}

const (
	postWithin = 5 * time.Second
	errorBytes = 4 << 10
)

// post sends something to a service.
func post(ctx context.Context, url string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, postWithin)
	defer cancel()
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, errorBytes))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, response.Status, bytes.TrimSpace(answer))
	}
	return nil
}
