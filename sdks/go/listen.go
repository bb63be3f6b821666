package meshloom

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// defaultListen is where a node listens that was started by hand.
const defaultListen = "127.0.0.1:7480"

// maxSocketPath is what every supported system allows for the path of a Unix socket (Linux 108, macOS 104, with the end).
const maxSocketPath = 103

// Exit statuses of [Main], after sysexits.h.
const (
	exitFailure     = 1
	exitUnavailable = 69  // the address is taken
	exitConfig      = 78  // the environment is wrong
	exitInterrupted = 130 // a second signal
)

// startError is a start-up failure that says what to do.
type startError struct {
	code    int
	message string
}

func (e *startError) Error() string { return e.message }

func startErrorf(code int, format string, args ...any) error {
	return &startError{code: code, message: fmt.Sprintf(format, args...)}
}

// address is a parsed MESHLOOM_LISTEN, in the name syntax of gRPC.
type address struct {
	network string // "unix" or "tcp"
	target  string
	byHand  bool // nothing was given: the default
}

func parseListen(value string) (address, error) {
	if value == "" {
		return address{network: "tcp", target: defaultListen, byHand: true}, nil
	}
	if path, ok := strings.CutPrefix(value, "unix-abstract:"); ok {
		return address{network: "unix", target: "@" + path}, nil
	}
	if path, ok := strings.CutPrefix(value, "unix:"); ok {
		if absolute, ok := strings.CutPrefix(path, "//"); ok {
			path = absolute
		}
		if path == "" {
			return address{}, startErrorf(exitConfig, "MESHLOOM_LISTEN=%s names no path: write unix:/path/to.sock", value)
		}
		if len(path) > maxSocketPath {
			return address{}, startErrorf(exitConfig, "MESHLOOM_LISTEN: the socket path has %d bytes, systems allow %d: use a shorter folder", len(path), maxSocketPath)
		}
		return address{network: "unix", target: path}, nil
	}
	target := strings.TrimPrefix(strings.TrimPrefix(value, "dns:"), "///")
	if _, _, err := net.SplitHostPort(target); err != nil {
		return address{}, startErrorf(exitConfig, "MESHLOOM_LISTEN=%s is no address (%v): write unix:/path, 127.0.0.1:7480 or dns:host:port", value, err)
	}
	return address{network: "tcp", target: target}, nil
}

// listen opens the address that the environment names, with TLS where it asks for it.
func listen(ctx context.Context, env func(string) string) (net.Listener, address, error) {
	at, err := parseListen(env("MESHLOOM_LISTEN"))
	if err != nil {
		return nil, at, err
	}
	if at.network == "unix" {
		listener, err := listenUnix(ctx, at.target)
		return listener, at, err
	}
	config, err := tlsConfig(env)
	if err != nil {
		return nil, at, err
	}
	mutual := config != nil && config.ClientAuth == tls.RequireAndVerifyClientCert
	if !mutual && env("MESHLOOM_INSECURE") != "1" && !loopback(ctx, at.target) {
		return nil, at, startErrorf(exitConfig, "%s is reachable from other machines: set MESHLOOM_TLS_CERT, MESHLOOM_TLS_KEY and MESHLOOM_TLS_CLIENT_CA (mutual TLS), listen on 127.0.0.1, or set MESHLOOM_INSECURE=1 where the network itself is trusted", at.target)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.target)
	if err != nil {
		return nil, at, listenError(at.target, err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	return listener, at, nil
}

func listenError(target string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return startErrorf(exitUnavailable, "%s is taken by another process: set MESHLOOM_LISTEN to another address, for instance MESHLOOM_LISTEN=127.0.0.1:0 for any free port", target)
	}
	return startErrorf(exitUnavailable, "cannot listen on %s: %v; MESHLOOM_LISTEN names the address", target, err)
}

// listenUnix takes over a socket file that nobody listens on any more.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	config := net.ListenConfig{}
	listener, err := config.Listen(ctx, "unix", path)
	if err == nil {
		return listener, nil
	}
	if info, e := os.Lstat(path); errors.Is(err, syscall.EADDRINUSE) && e == nil && info.Mode()&os.ModeSocket != 0 {
		if _, e := net.Dial("unix", path); errors.Is(e, syscall.ECONNREFUSED) {
			if e := os.Remove(path); e == nil {
				listener, err = config.Listen(ctx, "unix", path)
			}
		}
	}
	if err != nil {
		return nil, listenError("unix:"+path, err)
	}
	return listener, nil
}

// loopback tells whether every address of a host is a loopback address. No host means every interface.
func loopback(ctx context.Context, target string) bool {
	host, _, err := net.SplitHostPort(target)
	if err != nil || host == "" {
		return false
	}
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil || len(addresses) == 0 {
		return false
	}
	for _, a := range addresses {
		if !a.IP.IsLoopback() {
			return false
		}
	}
	return true
}

// tlsConfig reads MESHLOOM_TLS_CERT, _KEY and _CLIENT_CA; nil without them.
func tlsConfig(env func(string) string) (*tls.Config, error) {
	cert, key, ca := env("MESHLOOM_TLS_CERT"), env("MESHLOOM_TLS_KEY"), env("MESHLOOM_TLS_CLIENT_CA")
	if cert == "" && key == "" && ca == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, startErrorf(exitConfig, "TLS needs both MESHLOOM_TLS_CERT and MESHLOOM_TLS_KEY (PEM files)")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, startErrorf(exitConfig, "MESHLOOM_TLS_CERT=%s, MESHLOOM_TLS_KEY=%s: %v", cert, key, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, startErrorf(exitConfig, "MESHLOOM_TLS_CLIENT_CA: %v", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, startErrorf(exitConfig, "MESHLOOM_TLS_CLIENT_CA=%s holds no PEM certificate", ca)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
