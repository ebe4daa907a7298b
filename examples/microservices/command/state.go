package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/seed-bcc3c603/twophase/examples/microservices/city"
)

// state tells the other commands what is up.
type state struct {
	Control   string            `json:"control"` // URL
	Token     string            `json:"token"`
	URLs      map[string]string `json:"urls"`
	Databases map[string]string `json:"databases"`
}

func setStateFile(flags *flag.FlagSet, path *string) {
	flags.StringVar(path, "state", filepath.Join(os.TempDir(), "twophase-microservices-"+strconv.Itoa(os.Getuid())+".json"),
		"`file` in which up tells the other commands where everything is")
}

func newState(c *city.City, control string) state {
	s := state{Control: control, Token: newToken(), URLs: map[string]string{}, Databases: map[string]string{}}
	for _, service := range city.Services() {
		s.URLs[service], s.Databases[service] = c.URL(service), c.Database(service)
	}
	return s
}

// write leaves the state for others of the same user, whole or not at all.
func (s state) write(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("-state: %w", err)
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("-state: %w", err), os.Remove(file.Name()))
	}
	return nil
}

var errNotUp = errors.New(`nothing is up: start it with "microservices up"`)

func readState(path string) (s state, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, errNotUp
	}
	if err != nil {
		return s, fmt.Errorf("-state: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("-state: %s: %w", path, err)
	}
	for _, service := range city.Services() {
		if s.URLs[service] == "" || s.Databases[service] == "" {
			return s, fmt.Errorf("-state: %s does not say where the %s service is", path, service)
		}
	}
	return s, nil
}

// answers reports whether what the state is of is still up.
func (s state) answers(ctx context.Context) bool {
	return s.ask(ctx, http.MethodGet, "/up/") == nil
}

func (s state) ask(ctx context.Context, method, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.Control+path+s.Token, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func down(flags *flag.FlagSet, env environment) func(context.Context) error {
	var path string
	setStateFile(flags, &path)
	return func(ctx context.Context) error {
		running, err := readState(path)
		if err != nil {
			return err
		}
		if err := running.ask(ctx, http.MethodPost, "/down/"); err != nil {
			return errors.Join(fmt.Errorf("what was up has gone without saying so (%w)", err), os.Remove(path))
		}
		for range 600 { // a minute
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				say(env.stdout, "Everything is stopped.\n")
				return nil
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return errors.New("it does not stop within a minute")
	}
}
