// Package twophasegrpc lets participants be services of their own, over gRPC:
// [NewParticipant] is a [twophase.Participant] that calls one, and [Register]
// serves any.
//
// The service:
//
//	server := grpc.NewServer(append(twophasegrpc.ServerOptions(), grpc.Creds(credentials))...)
//	if err := twophasegrpc.Register(server, store); err != nil {
//		return err
//	}
//	health := twophasegrpc.RegisterHealth(server)
//	go server.Serve(listener)
//	…
//	health.Shutdown()     // who balances load looks elsewhere,
//	server.GracefulStop() // what is under way is answered
//
// The coordinator's side:
//
//	conn, err := grpc.NewClient("dns:///store:8082",
//		append(twophasegrpc.DialOptions(), grpc.WithTransportCredentials(credentials))...)
//	store, err := twophasegrpc.NewParticipant(conn)
//	coordinator, err := twophase.NewCoordinator(journal, twophase.WithParticipant("store", store))
//
// The contract on the wire is proto/twophase/v1/participant.proto, whatever
// language the other side is written in; package twophasev1 has it in Go.
//
// # What is guaranteed
//
//   - An answer is taken for a success only if it says so itself: it has the
//     state that was asked for. An error is taken for final only if its status
//     has an ErrorInfo of this contract. Whatever a proxy, a mesh or another
//     service on the same port answers is transient, and the call is repeated.
//   - The reason and the message of an error arrive as they were: [errors.Is]
//     finds [twophase.ErrRefused] and the others on the coordinator's side, and
//     [errors.As] the delay of a [twophase.RetryAfterError].
//   - Requests and answers are checked and bounded, on both sides; a request
//     that cannot be right is answered INVALID_ARGUMENT with a BadRequest that
//     names the fields. Such a Reserve is [twophase.ErrRefused].
//   - The caller's deadline ends the context of the participant's work, and a
//     caller without one gets that of [WithCallTimeout].
//   - A participant that panics is answered INTERNAL; the server goes on.
//
// # Retries, waiting and dead connections
//
// The coordinator repeats calls; gRPC should not do so, too, so leave retry
// policies out of service configurations: both together multiply. Leave
// WaitForReady off: a call to a service that is down then fails at once, and
// the coordinator, which knows how long the reservations live, chooses when to
// repeat it. Two defaults of gRPC do not fit that, and [DialOptions] replaces
// them: the pause before connecting again grows to two minutes, longer than
// most reservations live; and a connection that is cut without a sign is found
// dead only after many minutes, unless keepalive pings tell.
//
// # Traces, metrics, authentication
//
// They are gRPC's: interceptors, stats handlers and credentials of the
// connection and the server apply as they do to any other service. A context's
// trace reaches the participant by way of, say, otelgrpc's handlers.
package twophasegrpc

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
