package twophasegrpc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/pool"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
)

// Mutual TLS: the coordinator knows that it talks to the store, and the store
// lets nobody but the coordinator reserve. What is wrong with a certificate may
// be mended, so no such error is final: nothing is decided by it.
func ExampleRegister_mutualTLS() {
	ctx := context.Background()
	authority := newAuthority()

	stock, err := pool.New()
	if err != nil {
		log.Fatal(err)
	}
	if err := stock.Restock("masala dosa", "packet-1"); err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(append(twophasegrpc.ServerOptions(),
		grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{authority.certify("store")},
			ClientCAs:    authority.pool(),
			ClientAuth:   tls.RequireAndVerifyClientCert,
			MinVersion:   tls.VersionTLS13,
		})),
		grpc.UnaryInterceptor(onlyFor("coordinator")))...)
	if err := twophasegrpc.Register(server, stock); err != nil {
		log.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	for _, name := range []string{"coordinator", "stranger"} {
		conn, err := grpc.NewClient(listener.Addr().String(), append(twophasegrpc.DialOptions(),
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
				Certificates: []tls.Certificate{authority.certify(name)},
				RootCAs:      authority.pool(),
				ServerName:   "store",
				MinVersion:   tls.VersionTLS13,
			})))...)
		if err != nil {
			log.Fatal(err)
		}
		store, err := twophasegrpc.NewParticipant(conn)
		if err != nil {
			log.Fatal(err)
		}
		reservation, err := store.Reserve(ctx, twophase.Request{
			Key:     twophase.Key{Transaction: "order-1001", Step: "store"},
			Payload: []byte(`{"kind":"masala dosa"}`),
			Hold:    2 * time.Minute,
		})
		fmt.Println(name, "is told", status.Code(err), reservation.Resources, "final:", twophase.IsFinal(err))
		if err := conn.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// coordinator is told OK [packet-1] final: false
	// stranger is told PermissionDenied [] final: false
}

// onlyFor turns everybody away whose certificate has another name.
func onlyFor(name string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		caller, err := callerOf(ctx)
		if err != nil {
			return nil, status.Error(codes.Unauthenticated, err.Error())
		}
		if caller != name {
			return nil, status.Errorf(codes.PermissionDenied, "%s may not", caller)
		}
		return handler(ctx, req)
	}
}

// callerOf returns the name in the caller's certificate, which was verified.
func callerOf(ctx context.Context) (string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", errors.New("the caller is not known")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", errors.New("the caller has no certificate")
	}
	return info.State.VerifiedChains[0][0].Subject.CommonName, nil
}

// authority signs certificates. A real one keeps its key elsewhere.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority() authority {
	key := newKey()
	template := certificateOf("authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	return authority{sign(template, template, key.Public(), key), key}
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// certify returns a certificate for a name, of a service or of a caller.
func (a authority) certify(name string) tls.Certificate {
	key := newKey()
	template := certificateOf(name)
	template.DNSNames = []string{name}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return tls.Certificate{Certificate: [][]byte{sign(template, a.certificate, key.Public(), a.key).Raw}, PrivateKey: key}
}

func newKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	return key
}

func certificateOf(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
	}
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	return certificate
}
