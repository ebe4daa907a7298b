//go:build unix

package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-bcc3c603/twophase"
)

// The participants have a process of their own, which coordinators call over a
// socket: so calls arrive after their caller was killed, and a coordinator that
// is frozen holds no lock.

// stocks are the participants' names, and how many resources each has.
var stocks = map[string]int{"store": 10, "delivery": 8}

func ledgerPath(dir, name string) string { return filepath.Join(dir, name+".ledger") }

// envelope is a call on a participant, or its answer.
type envelope struct {
	Call        twophase.Call        `json:",omitempty"`
	Request     twophase.Request     `json:",omitzero"`
	Reservation twophase.Reservation `json:",omitzero"`
	Final       string               `json:",omitempty"`
	Message     string               `json:",omitempty"`
}

var finals = map[string]error{
	"refused": twophase.ErrRefused, "expired": twophase.ErrExpired, "released": twophase.ErrReleased,
	"unknown": twophase.ErrUnknown, "mismatch": twophase.ErrMismatch,
}

// openLedgers opens the ledgers in dir.
func openLedgers(dir string) (map[string]twophase.Participant, error) {
	ledgers := map[string]twophase.Participant{}
	for name, stock := range stocks {
		ledger, err := OpenLedger(ledgerPath(dir, name), name, stock, stock)
		if err != nil {
			return nil, err
		}
		ledgers[name] = ledger
	}
	return ledgers, nil
}

// Serve serves participants by their names at a socket, with some faults, until the
// process ends.
func Serve(participants map[string]twophase.Participant, socket string) error {
	mux := http.NewServeMux()
	for name, participant := range participants {
		mux.Handle("/"+name, counter{participant})
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", socket)
	if err != nil {
		return err
	}
	return (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(listener)
}

// counter is where a participant is called. Some requests are lost, some replies,
// and some calls arrive late, whatever has become of their caller.
type counter struct{ participant twophase.Participant }

const latest = 400 * time.Millisecond

func (c counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var call envelope
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	chance := rand.N(100)
	if chance < 5 {
		time.Sleep(rand.N(latest))
	}
	if chance == 5 {
		http.Error(w, "request lost", http.StatusServiceUnavailable)
		return
	}
	answer := c.answer(context.WithoutCancel(r.Context()), call)
	if chance < 9 {
		http.Error(w, "reply lost", http.StatusServiceUnavailable)
		return
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		return // the caller has gone
	}
}

func (c counter) answer(ctx context.Context, call envelope) (answer envelope) {
	var err error
	switch call.Call {
	case twophase.CallReserve:
		answer.Reservation, err = c.participant.Reserve(ctx, call.Request)
	case twophase.CallAssign:
		err = c.participant.Assign(ctx, call.Request.Key)
	case twophase.CallRelease:
		err = c.participant.Release(ctx, call.Request.Key)
	default:
		err = fmt.Errorf("there is no call %q", call.Call)
	}
	if err != nil {
		answer.Message = err.Error()
		for name, final := range finals {
			if errors.Is(err, final) {
				answer.Final = name
			}
		}
	}
	return answer
}

// remote is a participant behind the socket.
type remote struct {
	name   string
	client *http.Client
}

// NewClient returns a client of whoever serves at the socket.
func NewClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 64,
	}}
}

// NewRemote returns the participant of that name which is served to a client.
func NewRemote(name string, client *http.Client) twophase.Participant { return remote{name, client} }

// remotes returns options for a coordinator that knows the participants.
func remotes(client *http.Client) []twophase.Option {
	var options []twophase.Option
	for name := range stocks {
		options = append(options, twophase.WithParticipant(name, remote{name, client}))
	}
	return options
}

func (r remote) Reserve(ctx context.Context, req twophase.Request) (twophase.Reservation, error) {
	answer, err := r.call(ctx, envelope{Call: twophase.CallReserve, Request: req})
	return answer.Reservation, err
}

func (r remote) Assign(ctx context.Context, key twophase.Key) error {
	_, err := r.call(ctx, envelope{Call: twophase.CallAssign, Request: twophase.Request{Key: key}})
	return err
}

func (r remote) Release(ctx context.Context, key twophase.Key) error {
	_, err := r.call(ctx, envelope{Call: twophase.CallRelease, Request: twophase.Request{Key: key}})
	return err
}

func (r remote) call(ctx context.Context, call envelope) (answer envelope, err error) {
	body, err := json.Marshal(call)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://participants/"+r.name, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	reply, err := r.client.Do(req)
	if err != nil {
		return answer, err
	}
	defer func() { _ = reply.Body.Close() }()
	if reply.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("%s answers %s", r.name, reply.Status)
	}
	if err := json.NewDecoder(reply.Body).Decode(&answer); err != nil {
		return answer, err
	}
	switch {
	case answer.Final != "":
		return answer, fmt.Errorf("%w: %s", finals[answer.Final], answer.Message)
	case answer.Message != "":
		return answer, errors.New(answer.Message)
	}
	return answer, nil
}
