package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// withMetadata sends headers with each call.
func withMetadata(header http.Header) grpc.UnaryClientInterceptor {
	var pairs []string
	for name, values := range header {
		for _, value := range values {
			pairs = append(pairs, strings.ToLower(name), value)
		}
	}
	return func(
		ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		return invoke(metadata.AppendToOutgoingContext(ctx, pairs...), method, req, reply, conn, options...)
	}
}

// recordCall puts down a call and its answer.
func recordCall(
	ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	w := wireOf(ctx)
	w.sent = method[strings.LastIndex(method, "/")+1:] + shownRequest(req)
	err := invoke(ctx, method, req, reply, conn, options...)
	if err != nil {
		w.answered = shownStatus(err)
		return err
	}
	w.answered = "OK" + shownResponse(reply)
	return nil
}

// shownRequest returns a request in the words of the .proto file, but with the
// payload as the JSON that it is.
func shownRequest(req any) string {
	switch r := req.(type) {
	case *twophasev1.ReserveRequest:
		return fmt.Sprintf(" transaction:%q step:%q payload:%s hold:%v",
			r.GetTransaction(), r.GetStep(), cut(string(r.GetPayload())), r.GetHold().AsDuration())
	case *twophasev1.AssignRequest:
		return fmt.Sprintf(" transaction:%q step:%q", r.GetTransaction(), r.GetStep())
	case *twophasev1.ReleaseRequest:
		return fmt.Sprintf(" transaction:%q step:%q", r.GetTransaction(), r.GetStep())
	}
	return ""
}

func shownResponse(reply any) string {
	switch r := reply.(type) {
	case *twophasev1.ReserveResponse:
		held := r.GetReservation()
		shown := fmt.Sprintf(" state:%v resources:%q", held.GetState(), held.GetResources())
		if left := held.GetTimeLeft(); left != nil {
			shown += fmt.Sprintf(" time_left:%v", left.AsDuration())
		}
		if details := held.GetDetails(); len(details) > 0 {
			shown += " details:" + cut(string(details))
		}
		return cut(shown)
	case *twophasev1.AssignResponse:
		return fmt.Sprintf(" state:%v", r.GetState())
	case *twophasev1.ReleaseResponse:
		return fmt.Sprintf(" state:%v", r.GetState())
	}
	return ""
}

// shownStatus returns a status, and the details that the contract knows.
func shownStatus(err error) string {
	s := status.Convert(err)
	shown := s.Code().String()
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			shown += fmt.Sprintf(" ErrorInfo{domain:%q reason:%q}", d.GetDomain(), d.GetReason())
		case *errdetails.RetryInfo:
			shown += fmt.Sprintf(" RetryInfo{%v}", d.GetRetryDelay().AsDuration())
		}
	}
	return cut(fmt.Sprintf("%s %q", shown, s.Message()))
}
