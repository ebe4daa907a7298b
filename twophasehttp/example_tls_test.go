package twophasehttp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// Both sides show a certificate of the same authority, and the store serves only
// the order service.
func Example_mutualTLS() {
	authority := newAuthority()
	handler, err := twophasehttp.NewHandler(newExamplePool("masala dosa", "packet-1"))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Handler: onlyFor("order", handler),
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{authority.issue("store")},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    authority.pool,
		},
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // of handshakes that fail
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	defer func() { _ = server.Close() }()

	for name, certificates := range map[string][]tls.Certificate{
		"order":    {authority.issue("order")},
		"billing":  {authority.issue("billing")},
		"stranger": nil,
	} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: authority.pool, Certificates: certificates, ServerName: "store",
		}}
		store, err := twophasehttp.NewParticipant("https://"+listener.Addr().String(), twophasehttp.WithRoundTripper(transport))
		if err != nil {
			log.Fatal(err)
		}
		defer store.CloseIdleConnections()
		reservation, err := store.Reserve(context.Background(), twophase.Request{
			Key:     twophase.Key{Transaction: "order-1001", Step: "store"},
			Payload: []byte(`{"kind":"masala dosa"}`), Hold: time.Minute,
		})
		problem, answered := errors.AsType[*twophasehttp.Problem](err)
		switch {
		case err == nil:
			fmt.Println(name, "gets", reservation.Resource())
		case answered:
			fmt.Println(name, "gets", problem.Status, "and may try again:", !twophase.IsFinal(err))
		default:
			fmt.Println(name, "is not even heard, and may try again:", !twophase.IsFinal(err))
		}
	}
	// Unordered output:
	// order gets packet-1
	// billing gets 403 and may try again: true
	// stranger is not even heard, and may try again: true
}

// onlyFor serves those whose certificate has a name.
func onlyFor(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || r.TLS.VerifiedChains[0][0].Subject.CommonName != name {
			http.Error(w, "not for you", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authority issues certificates. A real one is a service, or a command.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
}

func newAuthority() *authority {
	a := &authority{key: newKey(), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate = a.sign(template, template, &a.key.PublicKey)
	a.pool.AddCert(a.certificate)
	return a
}

// issue returns a certificate for a service of that name.
func (a *authority) issue(name string) tls.Certificate {
	key := newKey()
	signed := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: key}
}

func (a *authority) sign(template, parent *x509.Certificate, public *ecdsa.PublicKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		log.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	return signed
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	return key
}
