package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/seed-bcc3c603/twophase/twophasetest"
)

// settings are what the flags and arguments of verify say.
type settings struct {
	targets []target
	kinds   []string
	single  bool
	hold    time.Duration
	long    time.Duration
	timeout time.Duration
	header  http.Header
	tls     tlsFiles
	only    *regexp.Regexp
	json    bool
	verbose bool
	list    bool

	payload, different, several template
}

// tlsFiles are PEM files.
type tlsFiles struct{ ca, cert, key string }

func (f tlsFiles) given() bool { return f != tlsFiles{} }

// Bounds of the flags.
const (
	shortestHold = 50 * time.Millisecond
	longestHold  = time.Minute // of what has to run out, some hundred times
	longHolds    = 60          // what is not to run out, in holds that are
	maxLong      = 24 * time.Hour
	maxTimeout   = 5 * time.Minute
)

const usage = `Verify calls a live service, in whatever language, and checks that it keeps every
promise of the contract of participants. It touches only resources of the kinds
that it is told to use, needs at least %d free ones of each, and gives all of
them back. Nobody else should use these kinds meanwhile.

usage: twophase verify [flags] http://host/base
       twophase verify [flags] grpc://host:port

Several addresses are several instances of one service: calls take turns.
https:// and grpcs:// are with TLS.

Exit status: 0 if every promise is kept, 1 if one is broken, 2 if it could not be
told: a flag is wrong, the service does not answer, too few resources are free,
or Ctrl-C.

`

// parse reads the flags and arguments. If one is wrong, the error names it and
// what would be right. Help goes to stdout.
func parse(args []string, stdout io.Writer) (*settings, error) {
	s := &settings{header: http.Header{}}
	flags := s.flags()
	addresses, err := parseAnywhere(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprintf(stdout, usage, needed(twophasetest.ParticipantChecks()))
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, withHint(flags, err)
	case s.list:
		return s, nil
	}
	return s, s.complete(addresses)
}

// flags are those of verify.
func (s *settings) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are told by the caller
	flags.Func("kind", "the `kind` of resources that may be touched; required. More than one is faster", s.addKind)
	flags.Var(&s.payload, "payload", "the `JSON` that asks for {{count}} resources of {{kind}}; default "+defaultPayload)
	flags.Var(&s.different, "different", "other `JSON` that the service understands; default: the payload for 2")
	flags.Var(&s.several, "several", "the `JSON` that asks for {{count}}, if the payload cannot")
	flags.BoolVar(&s.single, "single", false, "the service never gives a key more than one resource: skip what needs more")
	flags.DurationVar(&s.hold, "hold", time.Second, "how long is held what is to run out: a few dozen times as long as a call takes")
	flags.DurationVar(&s.long, "long", 10*time.Minute, "how long is held what is not to run out")
	flags.DurationVar(&s.timeout, "timeout", 5*time.Second, "how long the answer to a call may take")
	flags.Func("header", "a `Name: value` to send with each call; may be given several times", s.addHeader)
	flags.StringVar(&s.tls.ca, "ca", "", "PEM `file` of the authorities that the service's certificate is trusted by; default the system's")
	flags.StringVar(&s.tls.cert, "cert", "", "PEM `file` of the certificate to show to the service")
	flags.StringVar(&s.tls.key, "key", "", "PEM `file` of its private key")
	flags.Func("run", "check only the promises whose names match this `regexp`", s.setOnly)
	flags.BoolVar(&s.json, "json", false, "print a JSON object for each promise, and one at the end")
	flags.BoolVar(&s.verbose, "v", false, "show all calls that led to a failure, not only the last")
	flags.BoolVar(&s.list, "list", false, "list the promises, and check nothing")
	return flags
}

func (s *settings) addKind(kind string) error {
	if kind == "" || len(kind) > maxKind {
		return fmt.Errorf("it must have 1 to %d bytes", maxKind)
	}
	for _, other := range s.kinds {
		if kind == other {
			return errors.New("it is given twice")
		}
	}
	s.kinds = append(s.kinds, kind)
	return nil
}

const maxKind = 1 << 10

func (s *settings) addHeader(line string) error {
	name, value, found := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	if !found || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return errors.New(`it must be "Name: value"`)
	}
	s.header.Add(name, value)
	return nil
}

func (s *settings) setOnly(pattern string) (err error) {
	s.only, err = regexp.Compile(pattern)
	return err
}

// parseAnywhere reads flags before, between and after the arguments.
func parseAnywhere(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

// withHint says which flag may have been meant.
func withHint(flags *flag.FlagSet, err error) error {
	if name, found := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); found {
		if near := nearest(flags, name); near != "" {
			return fmt.Errorf("there is no flag -%s: is it -%s? See -help", name, near)
		}
		return fmt.Errorf("there is no flag -%s; see -help", name)
	}
	return fmt.Errorf("%w; see -help", err)
}

// complete checks what was given, fills in what was not, and names all that is
// wrong.
func (s *settings) complete(addresses []string) error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	within := func(name string, d, least, most time.Duration) {
		need(d >= least && d <= most, "-%s %v: it must be from %v to %v", name, d, least, most)
	}
	need(len(addresses) > 0, "no address is given: http://host/base or grpc://host:port")
	for _, address := range addresses {
		t, err := parseTarget(address)
		need(err == nil, "address %q: %w", address, err)
		s.targets = append(s.targets, t)
		need(err != nil || !s.tls.given() || t.secure, "address %q: -ca, -cert and -key need https:// or grpcs://", address)
	}
	need((s.tls.cert == "") == (s.tls.key == ""), "-cert and -key go together")
	need(len(s.kinds) > 0, "-kind is missing: the kind of resources that may be touched, one that nobody else uses meanwhile")
	within("hold", s.hold, shortestHold, longestHold)
	within("long", s.long, longHolds*s.hold, maxLong)
	within("timeout", s.timeout, time.Millisecond, maxTimeout)
	need(s.only == nil || len(s.checks()) > 0, "-run %v matches no promise: -list shows them", s.only)
	errs = append(errs, s.completePayloads()...)
	return errors.Join(errs...)
}

// completePayloads fills in the payloads that were not given.
func (s *settings) completePayloads() (errs []error) {
	if s.payload == "" {
		s.payload = defaultPayload
	}
	counts := s.payload.counts()
	if s.several == "" && counts {
		s.several = s.payload
	}
	if s.several == "" && !s.single {
		errs = append(errs, errors.New("-several is missing, as -payload has no {{count}}: "+
			"the JSON that asks for {{count}} resources, or -single if the service never gives a key more than one"))
	}
	if s.several != "" && !s.several.counts() {
		errs = append(errs, fmt.Errorf("-several %s: it must have a {{count}}", s.several))
	}
	if s.different == "" && (!counts || s.single) {
		errs = append(errs, errors.New("-different is missing: JSON that the service understands and that is not -payload"))
	}
	for _, kind := range s.kinds {
		one, other := s.payload.fill(kind, 1), s.differentFor(kind)
		for name, text := range map[string]json.RawMessage{"payload": one, "different": other, "several": s.several.fill(kind, 2)} {
			if len(text) > 0 && !json.Valid(text) {
				errs = append(errs, fmt.Errorf("-%s: with kind %q it is no JSON: %s", name, kind, text))
			}
		}
		if len(errs) == 0 && compacted(one) == compacted(other) {
			errs = append(errs, fmt.Errorf("-different: it must differ from -payload: %s", other))
		}
	}
	return errs
}

// differentFor returns a payload for a kind that is not the one that is asked
// with, and that the service understands.
func (s *settings) differentFor(kind string) json.RawMessage {
	if s.different == "" {
		return s.payload.fill(kind, 2)
	}
	return s.different.fill(kind, 1)
}

// checks are those to be run.
func (s *settings) checks() (chosen []twophasetest.Check) {
	options := []twophasetest.Option{twophasetest.RealTime(s.hold), twophasetest.LongHold(s.long)}
	if s.single {
		options = append(options, twophasetest.SingleResource())
	}
	for _, check := range twophasetest.ParticipantChecks(options...) {
		if s.only == nil || s.only.MatchString(check.Name) {
			chosen = append(chosen, check)
		}
	}
	return chosen
}

// needed returns how many free resources checks need.
func needed(checks []twophasetest.Check) (free int) {
	for _, check := range checks {
		if check.Skip == "" {
			free = max(free, check.Free)
		}
	}
	return free
}
