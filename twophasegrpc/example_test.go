package twophasegrpc_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
)

// A store and a delivery service, which would be processes of their own, and the
// coordinator that orders from them.
func Example() {
	ctx := context.Background()
	store, stopStore := serveStock("masala dosa", "packet-1")
	defer stopStore()
	delivery, stopDelivery := serveStock("Indiranagar", "asha")
	defer stopDelivery()

	storeConn, deliveryConn := connectTo(store), connectTo(delivery)
	defer func() { _ = errors.Join(storeConn.Close(), deliveryConn.Close()) }()

	coordinator, err := twophase.NewCoordinator(twophase.NewMemoryJournal(),
		twophase.WithParticipant("store", participantAt(storeConn)),
		twophase.WithParticipant("delivery", participantAt(deliveryConn)))
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"order-1001", "order-1002"} {
		result, err := coordinator.Run(ctx, twophase.Transaction{ID: id, Steps: []twophase.Step{
			{Participant: "store", Payload: pool.Want{Kind: "masala dosa"}},
			{Participant: "delivery", Payload: pool.Want{Kind: "Indiranagar"}},
		}})
		if err != nil {
			fmt.Println(id, "is not placed")
			continue
		}
		fmt.Println(id, "is placed:", result.Reservation("store").Resource(), "by", result.Reservation("delivery").Resource())
	}
	if err := coordinator.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// order-1001 is placed: packet-1 by asha
	// order-1002 is not placed
}

// serveStock is the service: it owns resources of one kind.
func serveStock(kind string, ids ...string) (address string, stop func()) {
	stock, err := pool.New()
	if err != nil {
		log.Fatal(err)
	}
	if err := stock.Restock(kind, ids...); err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(twophasegrpc.ServerOptions()...)
	if err := twophasegrpc.Register(server, stock); err != nil {
		log.Fatal(err)
	}
	health := twophasegrpc.RegisterHealth(server)
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatal(err)
		}
	}()
	return listener.Addr().String(), func() {
		health.Shutdown()
		server.GracefulStop()
	}
}

// connectTo is the coordinator's side. A connection is made once, and serves any
// number of calls.
func connectTo(address string) *grpc.ClientConn {
	conn, err := grpc.NewClient(address,
		append(twophasegrpc.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		log.Fatal(err)
	}
	return conn
}

func participantAt(conn *grpc.ClientConn) twophase.Participant {
	participant, err := twophasegrpc.NewParticipant(conn)
	if err != nil {
		log.Fatal(err)
	}
	return participant
}

// Whoever balances load, or starts and stops services, asks for their health.
func ExampleRegisterHealth() {
	ctx := context.Background()
	address, stop := serveStock("masala dosa")
	defer stop()
	conn := connectTo(address)
	defer func() { _ = conn.Close() }()
	health, err := grpc_health_v1.NewHealthClient(conn).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: twophasegrpc.ServiceName})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(health.GetStatus())
	// Output: SERVING
}
