package meshloomtest

import (
	"context"
	"errors"
	"net"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Open runs a node's set-up and tear-down without events. A config that is refused gives a [*meshloom.ConfigError] with every
// violation; any other error is the set-up's, or the tear-down's.
func Open(t testing.TB, node *meshloom.Node, config any) error {
	t.Helper()
	served := serve(t, node)
	opened := open(t, served, configJSON(t, config))
	return errors.Join(refused(opened), served.Stop())
}

func open(t testing.TB, served *harness.Served, config []byte) error {
	t.Helper()
	described, err := served.Client.Describe(t.Context(), &meshloomv1.DescribeRequest{})
	if err != nil {
		return err
	}
	if described.GetHandlers()[0].GetRole() == meshloomv1.HandlerRole_HANDLER_ROLE_SOURCE {
		stream, err := served.TryProduce(t, &meshloomv1.OpenProduce{Pipeline: "test", Node: "test", ConfigJson: config})
		if err == nil {
			stream.Stop(t)
		}
		return err
	}
	stream, err := served.TryProcess(t, &meshloomv1.OpenProcess{Pipeline: "test", Node: "test", ConfigJson: config})
	if err == nil {
		err = stream.Stream.CloseSend()
	}
	return err
}

// refused turns the status of a refused config back into the error that the node refused it with.
func refused(err error) error {
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			config := &meshloom.ConfigError{}
			for _, v := range bad.GetFieldViolations() {
				config.Violations = append(config.Violations, meshloom.Violation{Field: v.GetField(), Description: v.GetDescription()})
			}
			return config
		}
	}
	return err
}

// serve serves a node in memory until the test ends, with no deadline but that of `go test`.
func serve(t testing.TB, node *meshloom.Node) *harness.Served {
	t.Helper()
	served := harness.Serve(t, func(ctx context.Context, l net.Listener) error { return meshloom.ServeListener(ctx, l, node) })
	served.Patient = true
	return served
}
