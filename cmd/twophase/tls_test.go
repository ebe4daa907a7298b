package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seed-bcc3c603/twophase"
	"github.com/seed-bcc3c603/twophase/twophasehttp"
)

// requiringAuthorization serves a participant to those who have the secret.
func requiringAuthorization(t *testing.T, secret string, p twophase.Participant) (address string) {
	t.Helper()
	handler, err := twophasehttp.NewHandler(p)
	require.NoError(t, err)
	return serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != secret {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// identity is a certificate that signs itself, and where its files are.
type identity struct {
	cert, key string
	pair      tls.Certificate
	pool      *x509.CertPool
}

func newIdentity(t *testing.T, name string) identity {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	i := identity{
		cert: filepath.Join(t.TempDir(), name+".pem"), key: filepath.Join(t.TempDir(), name+".key"),
		pool: x509.NewCertPool(),
	}
	require.NoError(t, os.WriteFile(i.cert, certPEM, 0o600))
	require.NoError(t, os.WriteFile(i.key, keyPEM, 0o600))
	i.pair, err = tls.X509KeyPair(certPEM, keyPEM)
	require.NoError(t, err)
	require.True(t, i.pool.AppendCertsFromPEM(certPEM))
	return i
}

func TestServiceBehindMutualTLSIsVerified(t *testing.T) {
	t.Parallel()
	server, client := newIdentity(t, "server"), newIdentity(t, "client")
	config := &tls.Config{
		Certificates: []tls.Certificate{server.pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    client.pool,
		MinVersion:   tls.VersionTLS13,
	}
	p := newPool(t, 3, "verify")
	for name, address := range map[string]string{
		"HTTP": serveHTTPS(t, p, config),
		"gRPC": strings.Replace(serveGRPC(t, p, grpc.Creds(credentials.NewTLS(config))), "grpc://", "grpcs://", 1),
	} {
		args := []string{"verify", "-kind", "verify", "-run", "^a tombstone is kept$", "-hold", "200ms", "-timeout", "2s", address}

		status, stdout, stderr := twophaseCommand(t, append(args, "-ca", server.cert, "-cert", client.cert, "-key", client.key)...)
		assert.Equal(t, exitKept, status, "%s: %s", name, stderr)
		assert.Contains(t, stdout, "1 promise: 1 kept", name)

		status, _, stderr = twophaseCommand(t, append(args, "-cert", client.cert, "-key", client.key)...)
		assert.Equal(t, exitUsage, status, name)
		assert.Contains(t, stderr, "certificate signed by unknown authority", name)

		status, _, stderr = twophaseCommand(t, append(args, "-ca", server.cert)...)
		assert.Equal(t, exitUsage, status, name)
		assert.Contains(t, stderr, "does not answer as a participant", name)
	}
}

func serveHTTPS(t *testing.T, p twophase.Participant, config *tls.Config) string {
	t.Helper()
	handler, err := twophasehttp.NewHandler(p)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = config
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestTLSThatIsOnOneSideOnlyIsRefusedWithAHint(t *testing.T) {
	t.Parallel()
	server := newIdentity(t, "server")
	p := newPool(t, 3, "verify")
	plain := serveHTTP(t, p)
	secure := serveHTTPS(t, p, &tls.Config{Certificates: []tls.Certificate{server.pair}, MinVersion: tls.VersionTLS12})
	for address, hint := range map[string]string{
		strings.Replace(plain, "http:", "https:", 1):  "it does not speak TLS: use http:// or grpc://",
		strings.Replace(secure, "https:", "http:", 1): "if it speaks TLS, use https://",
		secure: "its certificate is not trusted here: give the authority's with -ca",
	} {
		status, _, stderr := twophaseCommand(t, "verify", "-kind", "verify", address)
		assert.Equal(t, exitUsage, status)
		assert.Contains(t, stderr, hint)
	}
}
