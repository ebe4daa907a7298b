package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// target is the address of an instance of the service.
type target struct {
	url    *url.URL
	grpc   bool
	secure bool // by TLS
}

// parseTarget checks an address. The error says what would be right.
func parseTarget(address string) (target, error) {
	u, err := url.Parse(address)
	if err != nil {
		return target{}, errors.New("it is no URL: http://host/base or grpc://host:port")
	}
	t := target{url: u, grpc: u.Scheme == "grpc" || u.Scheme == "grpcs", secure: u.Scheme == "https" || u.Scheme == "grpcs"}
	switch {
	case !slices.Contains([]string{"http", "https", "grpc", "grpcs"}, u.Scheme) || u.Host == "":
		return target{}, errors.New("it must begin with http://, https://, grpc:// or grpcs://, and name a host")
	case u.RawQuery != "" || u.Fragment != "":
		return target{}, errors.New("it must have neither a query nor a fragment")
	case t.grpc && u.Port() == "":
		return target{}, errors.New("it has no port: grpc://host:port")
	case t.grpc && (u.Path != "" && u.Path != "/" || u.User != nil):
		return target{}, errors.New("it must be nothing but grpc://host:port; for credentials there is -header")
	}
	return t, nil
}

// String returns the address, without a password.
func (t target) String() string { return t.url.Redacted() }

// dial returns a client of the target, whose calls are recorded (see exchange),
// and what closes it. Nothing is sent.
func (t target) dial(header http.Header, files tlsFiles) (p twophase.Participant, closeClient func(), err error) {
	config, err := files.load()
	if err != nil {
		return nil, nil, err
	}
	if t.grpc {
		return t.dialGRPC(header, config)
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     config,
		MaxIdleConnsPerHost: connections,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
	}
	client, err := twophasehttp.NewParticipant(t.url.String(),
		twophasehttp.WithTimeout(maxTimeout), // a shorter one comes with each call
		twophasehttp.WithRoundTripper(&recordingTransport{transport}),
		twophasehttp.WithHeaders(func(_ context.Context, h http.Header) {
			for name, values := range header {
				h[name] = values
			}
		}),
	)
	return client, transport.CloseIdleConnections, err
}

// connections are as many as the checks that call most at once need.
const connections = 64

func (t target) dialGRPC(header http.Header, config *tls.Config) (twophase.Participant, func(), error) {
	transport := insecure.NewCredentials()
	if t.secure {
		transport = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient("dns:///"+t.url.Host, append(twophasegrpc.DialOptions(),
		grpc.WithTransportCredentials(transport),
		grpc.WithChainUnaryInterceptor(withMetadata(header), recordCall),
	)...)
	if err != nil {
		return nil, nil, err
	}
	client, err := twophasegrpc.NewParticipant(conn)
	return client, func() { _ = conn.Close() }, err
}

// load reads the files. What is not given is the system's.
func (f tlsFiles) load() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("-ca %s: there is no certificate in PEM in it", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("-cert and -key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
