package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"strings"

	"google.golang.org/grpc"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

const (
	windowBytes  = 8 << 20
	messageBytes = 64 << 20
	heapFloor    = 32 << 20 // as the SDK's Main: the ratio is not one of settings of the garbage collector
)

// bare answers works by hand.
type bare struct {
	meshloomv1.UnimplementedNodeServiceServer
	answer func(*meshloomv1.Batch) *meshloomv1.Outputs
}

func serveBare(listen, handler string) error {
	path, isUnix := strings.CutPrefix(listen, "unix:")
	answers := map[string]func(*meshloomv1.Batch) *meshloomv1.Outputs{"map": mapped, "filter": filtered}
	answer := answers[handler]
	if !isUnix || answer == nil {
		return fmt.Errorf("MESHLOOM_LISTEN=%q must be unix:/path and the handler %q map or filter", listen, handler)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(messageBytes), grpc.MaxSendMsgSize(messageBytes),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(2*windowBytes),
		grpc.ReadBufferSize(256<<10), grpc.WriteBufferSize(256<<10),
	)
	meshloomv1.RegisterNodeServiceServer(server, bare{answer: answer})
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	return server.Serve(listener)
}

func (b bare) Process(stream grpc.BidiStreamingServer[meshloomv1.ProcessRequest, meshloomv1.ProcessResponse]) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		work := request.GetWork()
		outputs := b.answer(work.GetBatch())
		result := &meshloomv1.WorkResult{
			Sequence: work.GetSequence(), Outputs: outputs, Consumed: work.GetBatch().GetCount() - outputs.GetCount(), Last: true,
		}
		err = stream.Send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Result{Result: result}})
		if err != nil {
			return err
		}
	}
}

// each calls f with the payload of every event.
func each(batch *meshloomv1.Batch, f func(row uint32, payload []byte)) {
	data, ends := batch.GetPayload().GetData(), batch.GetPayload().GetEnds()
	begin := uint32(0)
	for row := range batch.GetCount() {
		end := binary.LittleEndian.Uint32(ends[4*row:])
		f(row, data[begin:end])
		begin = end
	}
}

// contentType says of all payloads what the SDK says of a []byte.
var contentType = &meshloomv1.Strings{Values: &meshloomv1.Values{
	Data: []byte("application/octet-stream"), Ends: binary.LittleEndian.AppendUint32(nil, uint32(len("application/octet-stream"))),
}}

func mapped(batch *meshloomv1.Batch) *meshloomv1.Outputs {
	data := make([]byte, 0, len(batch.GetPayload().GetData())+int(batch.GetCount()))
	ends := make([]byte, 0, 4*batch.GetCount())
	each(batch, func(_ uint32, payload []byte) {
		data = append(data, touch(payload)...)
		ends = binary.LittleEndian.AppendUint32(ends, uint32(len(data)))
	})
	return &meshloomv1.Outputs{Count: batch.GetCount(), Payload: &meshloomv1.Values{Data: data, Ends: ends}, ContentType: contentType}
}

func filtered(batch *meshloomv1.Batch) *meshloomv1.Outputs {
	kept := make([]byte, 0, 4*batch.GetCount())
	each(batch, func(row uint32, payload []byte) {
		if keep(payload) {
			kept = binary.LittleEndian.AppendUint32(kept, row)
		}
	})
	count := uint32(len(kept) / 4)
	if count == batch.GetCount() {
		kept = nil
	}
	return &meshloomv1.Outputs{Count: count, Parent: kept}
}
