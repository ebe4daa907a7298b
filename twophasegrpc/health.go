package twophasegrpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

// ServiceName is that of the participant's service, as gRPC's health checks
// name it.
const ServiceName = "twophase.v1.ParticipantService"

// RegisterHealth registers gRPC's health service on a participant's server, for
// load balancers, orchestrators and clients that ask. It reports the server as a
// whole (the name "") and [ServiceName] as serving.
//
// Call Shutdown before the server's GracefulStop. Call SetServingStatus while
// the participant's own store is away, if there are other instances that can
// do better: coordinators repeat their calls in any case.
func RegisterHealth(server grpc.ServiceRegistrar) *health.Server {
	h := health.NewServer() // says that "" is serving
	h.SetServingStatus(twophasev1.ParticipantService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, h)
	return h
}
