package meshloom

import (
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

func TestNegotiation(t *testing.T) {
	span := func(low, high uint32) *meshloomv1.ProtocolRange {
		return &meshloomv1.ProtocolRange{Min: low, Max: high}
	}
	for _, c := range []struct {
		theirs, ours *meshloomv1.ProtocolRange
		version      uint32
		upgrade, to  string
	}{
		{span(1, 1), span(1, 1), 1, "", ""},
		{span(1, 5), span(2, 3), 3, "", ""},
		{span(1, 2), span(2, 3), 2, "", ""},
		{span(4, 5), span(2, 3), 0, "node", "4"},
		{span(1, 1), span(2, 3), 0, "coordinator", "2"},
	} {
		version, err := negotiate(c.theirs, c.ours)
		if version != c.version || (err == nil) != (c.upgrade == "") {
			t.Errorf("%v with %v: %d, %v", c.theirs, c.ours, version, err)
		}
		if err == nil {
			continue
		}
		info := status.Convert(err).Details()[0].(*errdetails.ErrorInfo)
		if status.Code(err) != codes.FailedPrecondition || info.GetMetadata()["upgrade"] != c.upgrade || info.GetMetadata()["to"] != c.to {
			t.Errorf("%v with %v: %v, %v", c.theirs, c.ours, err, info)
		}
	}
}
