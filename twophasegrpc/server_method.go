package twophasegrpc

import (
	"context"
	"runtime/debug"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// What holds for every method, whatever the server's interceptors are.

// desc returns the generated description, with methods that are guarded.
func (s *service) desc() *grpc.ServiceDesc {
	desc := twophasev1.ParticipantService_ServiceDesc
	desc.Methods = slices.Clone(desc.Methods)
	for i, method := range desc.Methods {
		desc.Methods[i].Handler = s.guarded(method.Handler)
	}
	return &desc
}

// guarded returns a method that ends in time and survives a panic.
func (s *service) guarded(method grpc.MethodHandler) grpc.MethodHandler {
	return func(
		srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor,
	) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, s.config.callTimeout)
		defer cancel()
		return method(srv, ctx, decode, s.innermost(interceptor))
	}
}

// innermost returns an interceptor that recovers the participant's panics, for
// the server's own interceptors to see the answer that callers get.
func (s *service) innermost(outer grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		recovering := func(ctx context.Context, request any) (response any, err error) {
			defer func() {
				if value := recover(); value != nil {
					s.config.logger.ErrorContext(ctx, "twophasegrpc: participant panicked",
						"method", info.FullMethod, "panic", value, "stack", string(debug.Stack()))
					response, err = nil, newStatus(codes.Internal, ReasonInternal, "what happened is in the service's log")
				}
			}()
			return handler(ctx, request)
		}
		if outer == nil {
			return recovering(ctx, request)
		}
		return outer(ctx, request, info, recovering)
	}
}
