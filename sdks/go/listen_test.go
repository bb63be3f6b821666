package meshloom

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestListenAddresses(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "n.sock")
	for value, want := range map[string]string{"127.0.0.1:0": "tcp", "dns:localhost:0": "tcp", "dns:///127.0.0.1:0": "tcp", "unix:" + socket: "unix", "unix://" + socket: "unix"} {
		l, at, err := listen(t.Context(), environment("MESHLOOM_LISTEN", value))
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if at.network != want || at.byHand {
			t.Errorf("%s: got %+v", value, at)
		}
		_ = l.Close()
	}
	if at, err := parseListen(""); err != nil || at.target != "127.0.0.1:7480" || !at.byHand {
		t.Errorf("by hand: %+v, %v", at, err)
	}
}

func TestListenRefusals(t *testing.T) {
	cert, key := certificate(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	socket := filepath.Join(t.TempDir(), "n.sock")
	live, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	for name, c := range map[string]struct {
		env  func(string) string
		code int
		says string
	}{
		"no port":        {environment("MESHLOOM_LISTEN", "localhost"), exitConfig, "write unix:/path"},
		"no path":        {environment("MESHLOOM_LISTEN", "unix:"), exitConfig, "names no path"},
		"long path":      {environment("MESHLOOM_LISTEN", "unix:/"+strings.Repeat("x", 110)), exitConfig, "shorter folder"},
		"taken":          {environment("MESHLOOM_LISTEN", taken.Addr().String()), exitUnavailable, "set MESHLOOM_LISTEN"},
		"taken socket":   {environment("MESHLOOM_LISTEN", "unix:"+socket), exitUnavailable, "taken by another process"},
		"every address":  {environment("MESHLOOM_LISTEN", "0.0.0.0:0"), exitConfig, "MESHLOOM_INSECURE=1"},
		"no host":        {environment("MESHLOOM_LISTEN", ":0"), exitConfig, "MESHLOOM_TLS_CERT"},
		"TLS one-sided":  {environment("MESHLOOM_LISTEN", "0.0.0.0:0", "MESHLOOM_TLS_CERT", cert, "MESHLOOM_TLS_KEY", key), exitConfig, "MESHLOOM_TLS_CLIENT_CA"},
		"TLS no key":     {environment("MESHLOOM_LISTEN", "127.0.0.1:0", "MESHLOOM_TLS_CERT", cert), exitConfig, "both"},
		"TLS no file":    {environment("MESHLOOM_LISTEN", "127.0.0.1:0", "MESHLOOM_TLS_CERT", cert, "MESHLOOM_TLS_KEY", "none.pem"), exitConfig, "none.pem"},
		"TLS no CA file": {environment("MESHLOOM_LISTEN", "127.0.0.1:0", "MESHLOOM_TLS_CERT", cert, "MESHLOOM_TLS_KEY", key, "MESHLOOM_TLS_CLIENT_CA", key), exitConfig, "no PEM certificate"},
	} {
		l, _, err := listen(t.Context(), c.env)
		if err == nil {
			_ = l.Close()
		}
		var start *startError
		if !errors.As(err, &start) || start.code != c.code || !strings.Contains(start.message, c.says) {
			t.Errorf("%s: got %v, want exit %d and %q", name, err, c.code, c.says)
		}
	}
}

func TestListenInsecureByChoice(t *testing.T) {
	l, _, err := listen(t.Context(), environment("MESHLOOM_LISTEN", "0.0.0.0:0", "MESHLOOM_INSECURE", "1"))
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestListenTakesOverAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as after a kill
	_ = dead.Close()
	l, _, err := listen(t.Context(), environment("MESHLOOM_LISTEN", "unix:"+path))
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := listen(t.Context(), environment("MESHLOOM_LISTEN", "unix:"+path)); err == nil {
		t.Error("a file that is no socket was taken over")
	}
}

func TestListenWithMutualTLS(t *testing.T) {
	cert, key := certificate(t)
	l, _, err := listen(t.Context(), environment("MESHLOOM_LISTEN", "127.0.0.1:0", "MESHLOOM_TLS_CERT", cert, "MESHLOOM_TLS_KEY", key, "MESHLOOM_TLS_CLIENT_CA", cert))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Write([]byte("hello")) // completes the handshake
				_ = conn.Close()
			}()
		}
	}()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	encoded, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(encoded)
	read := func(config *tls.Config) error {
		conn, err := tls.Dial("tcp", l.Addr().String(), config)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 5))
		return err
	}
	if err := read(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if err := read(&tls.Config{RootCAs: pool}); err == nil {
		t.Error("without a certificate: accepted")
	}
}

func TestCleanReasonAndMessage(t *testing.T) {
	for in, want := range map[string]string{"BAD_LINE": "BAD_LINE", "bad-line é": "BAD_LINE__", "": "REJECTED", strings.Repeat("x", 70): strings.Repeat("X", 64)} {
		if got := cleanReason(in, reasonRejected); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := cleanMessage(strings.Repeat("x", 4095) + "ä"); got != strings.Repeat("x", 4095) {
		t.Errorf("a message was cut to %d bytes", len(got))
	}
	if got := cleanMessage("a\xffb"); got != "a\uFFFDb" {
		t.Errorf("got %q", got)
	}
}
