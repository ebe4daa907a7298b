package twophasegrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/seed-bcc3c603/twophase"
)

// Domain is that of the ErrorInfo that this contract's errors have.
const Domain = "twophase"

// The reasons of an ErrorInfo.
const (
	ReasonRefused     = "REFUSED"     // twophase.ErrRefused
	ReasonExpired     = "EXPIRED"     // twophase.ErrExpired
	ReasonReleased    = "RELEASED"    // twophase.ErrReleased
	ReasonUnknown     = "UNKNOWN"     // twophase.ErrUnknown
	ReasonMismatch    = "MISMATCH"    // twophase.ErrMismatch
	ReasonInvalid     = "INVALID"     // the request itself can never be right
	ReasonUnavailable = "UNAVAILABLE" // not now
	ReasonTimeout     = "TIMEOUT"     // no answer in time
	ReasonInternal    = "INTERNAL"    // a fault of the service
)

// reasons are the codes of the reasons that errors of package twophase have.
// The first that an error is, is told.
var reasons = []struct {
	name     string
	code     codes.Code
	sentinel error
}{
	{ReasonRefused, codes.FailedPrecondition, twophase.ErrRefused},
	{ReasonExpired, codes.FailedPrecondition, twophase.ErrExpired},
	{ReasonReleased, codes.FailedPrecondition, twophase.ErrReleased},
	{ReasonUnknown, codes.NotFound, twophase.ErrUnknown},
	{ReasonMismatch, codes.AlreadyExists, twophase.ErrMismatch},
	{ReasonInvalid, codes.InvalidArgument, twophase.ErrInvalid},
}

// statusOf returns the status that tells a caller of a participant's error. What
// is not for callers is logged instead.
func (s *service) statusOf(ctx context.Context, call twophase.Call, key twophase.Key, err error) error {
	for _, r := range reasons {
		if errors.Is(err, r.sentinel) {
			return newStatus(r.code, r.name, err.Error())
		}
	}
	if asked, ok := errors.AsType[*twophase.RetryAfterError](err); ok {
		return newStatus(codes.Unavailable, ReasonUnavailable, asked.Err.Error(),
			&errdetails.RetryInfo{RetryDelay: durationpb.New(max(0, asked.After))})
	}
	switch {
	case errors.Is(err, context.Canceled):
		return newStatus(codes.Canceled, ReasonTimeout, "the call was given up before the participant answered")
	case errors.Is(err, context.DeadlineExceeded):
		return newStatus(codes.DeadlineExceeded, ReasonTimeout, "the participant did not answer in time")
	}
	s.config.logger.LogAttrs(ctx, slog.LevelError, "twophasegrpc: participant failed",
		slog.String("call", string(call)), slog.String("key", key.String()), slog.Any("error", err))
	return newStatus(codes.Unavailable, ReasonUnavailable, "what happened is in the service's log")
}

func newStatus(code codes.Code, reason, message string, details ...protoadapt.MessageV1) error {
	s := status.New(code, clean(message))
	info := &errdetails.ErrorInfo{Reason: reason, Domain: Domain}
	detailed, err := s.WithDetails(append([]protoadapt.MessageV1{info}, details...)...)
	if err != nil { // they are sound
		return s.Err()
	}
	return detailed.Err()
}

// clean makes a text fit for a header, where gRPC sends it twice, and for a
// message: of one line, and short.
func clean(text string) string {
	if len(text) > maxMessage {
		text = text[:maxMessage]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// answerOf returns the error that a status stands for. Nothing is final that
// does not say so in the words of this contract.
func answerOf(ctx context.Context, call twophase.Call, key twophase.Key, err error) error {
	s := status.Convert(err)
	reason, retry := detailsOf(s)
	if is := sentinelsOf(call, reason); len(is) > 0 {
		return &answer{is: is, status: s}
	}
	err = fmt.Errorf("twophasegrpc: %s %s: %w", call, key, err)
	switch delay := retry.GetRetryDelay(); {
	case delay.IsValid() && delay.AsDuration() > 0:
		return &twophase.RetryAfterError{After: delay.AsDuration(), Err: err}
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", err, ctx.Err())
	case s.Code() == codes.Unimplemented:
		return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
	}
	return err
}

// detailsOf returns the reason of this contract and the delay that a status
// has, each if it has one.
func detailsOf(s *status.Status) (reason string, retry *errdetails.RetryInfo) {
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == Domain {
				reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			retry = detail
		}
	}
	return reason, retry
}

// sentinelsOf returns the errors that a reason stands for. A Reserve that is
// invalid can never be met, and has kept nothing.
func sentinelsOf(call twophase.Call, reason string) []error {
	if reason == ReasonInvalid && call == twophase.CallReserve {
		return []error{twophase.ErrRefused, twophase.ErrInvalid}
	}
	for _, r := range reasons {
		if r.name == reason {
			return []error{r.sentinel}
		}
	}
	return nil
}

// answer is an error of the contract that came over the wire. [errors.Is] finds
// which, and [status.FromError] all else that was sent.
type answer struct {
	is     []error
	status *status.Status
}

// Error returns the participant's message, which begins with what it is.
func (a *answer) Error() string {
	message, prefix := clean(a.status.Message()), a.is[0].Error()
	if strings.HasPrefix(message, prefix) {
		return message
	}
	return prefix + ": " + message
}

// Unwrap returns what it is, and the error of gRPC.
func (a *answer) Unwrap() []error { return append([]error{a.status.Err()}, a.is...) }
