package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/api"
)

// Client is a customer of an Order service. It is safe for concurrent use. Make it
// with [NewClient].
type Client struct {
	url  string
	http *http.Client
}

// askWithin is how long a request may take: longer than the service takes to answer.
const askWithin = 40 * time.Second

const maxAnswer = 1 << 20 // bytes

// NewClient returns a client of the service at url, with connections for so many
// callers.
func NewClient(url string, callers int) *Client {
	return &Client{url: url, http: &http.Client{Timeout: askWithin, Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConns:        callers,
		MaxIdleConnsPerHost: callers,
		IdleConnTimeout:     time.Minute,
	}}}
}

// Close closes the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// errNoAnswer says that a reply is none about the order, and that the order may be
// sent again.
var errNoAnswer = errors.New("no answer")

// ErrNoOrder says that the service knows no such order.
var ErrNoOrder = errors.New("no such order")

// Place sends an order once. If the answer is in doubt, or there is an error, it may
// be sent again.
func (c *Client) Place(ctx context.Context, o api.Order) (api.Answer, error) {
	return c.order(ctx, "/orders", o)
}

// PlaceByHand sends the requests of an order with no coordinator.
func (c *Client) PlaceByHand(ctx context.Context, o api.Order) (api.Answer, error) {
	return c.order(ctx, "/by-hand", o)
}

// Ask returns what has become of an order, or [ErrNoOrder].
func (c *Client) Ask(ctx context.Context, id string) (api.Answer, error) {
	return c.do(ctx, http.MethodGet, "/orders/"+url.PathEscape(id), nil)
}

func (c *Client) order(ctx context.Context, path string, o api.Order) (api.Answer, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return api.Answer{}, err
	}
	return c.do(ctx, http.MethodPost, path, body)
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) (answer api.Answer, err error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer, err
	}
	want, known := map[int]api.Status{
		http.StatusOK: api.Placed, http.StatusConflict: api.NotPlaced,
		http.StatusAccepted: api.InDoubt, http.StatusServiceUnavailable: api.InDoubt,
	}[response.StatusCode]
	if response.StatusCode == http.StatusNotFound {
		return answer, fmt.Errorf("%w: %s", ErrNoOrder, path)
	}
	if err := json.Unmarshal(text, &answer); err != nil || !known || answer.Status != want {
		return api.Answer{}, fmt.Errorf("%w: %s: %.200s", errNoAnswer, response.Status, bytes.TrimSpace(text))
	}
	return answer, nil
}

// Stock returns what the services have.
func (c *Client) Stock(ctx context.Context) (stock api.Stock, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/stock", nil)
	if err != nil {
		return stock, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return stock, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return stock, fmt.Errorf("stock: %s", response.Status)
	}
	return stock, json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&stock)
}
