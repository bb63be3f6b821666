"""The same by hand over the raw gRPC stream: `bare.py map|filter`, with MESHLOOM_LISTEN=unix:/path."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import grpc

from meshloom._pb import batch_pb2, process_pb2
from meshloom.serve import OPTIONS

#: Of changed payloads: one value for all.
BINARY = batch_pb2.Strings(values=batch_pb2.Values(data=b"application/octet-stream", ends=array("I", [24]).tobytes()))


def append(payload: bytes) -> bytes:
    """What the node does to each event."""
    return payload + b"!"


def keep(payload: bytes) -> bool:
    """What the filter says of each event."""
    return len(payload) > 0


def payloads(batch: batch_pb2.Batch) -> Iterator[bytes]:
    """The events of a batch, without an object per event but their bytes."""
    data, begin = batch.payload.data, 0
    for end in array("I", batch.payload.ends):
        yield data[begin:end]
        begin = end


def mapped(batch: batch_pb2.Batch, outputs: process_pb2.Outputs) -> None:
    """An output for each event."""
    out = [append(payload) for payload in payloads(batch)]
    outputs.count = len(out)
    outputs.payload.data = b"".join(out)
    outputs.payload.ends = array("I", accumulate(map(len, out))).tobytes()
    outputs.content_type.CopyFrom(BINARY)


def filtered(batch: batch_pb2.Batch, outputs: process_pb2.Outputs) -> None:
    """The indexes of those kept; none when all are."""
    kept = array("I", [row for row, payload in enumerate(payloads(batch)) if keep(payload)])
    outputs.count = len(kept)
    if len(kept) < batch.count:
        outputs.parent = kept.tobytes()


ANSWERS = {"map": mapped, "filter": filtered}


def main() -> None:
    """Serves until it is killed."""
    answer = ANSWERS[sys.argv[1]]

    def process(
        requests: Iterator[process_pb2.ProcessRequest], _: grpc.ServicerContext
    ) -> Iterator[process_pb2.ProcessResponse]:
        for request in requests:
            work = request.work
            response = process_pb2.ProcessResponse()
            result = response.result  # filled in place: a message that is set is copied
            answer(work.batch, result.outputs)
            result.sequence, result.last = work.sequence, True
            result.consumed = work.batch.count - result.outputs.count
            yield response

    server = grpc.server(ThreadPoolExecutor(4), options=OPTIONS)
    handler = grpc.stream_stream_rpc_method_handler(
        process, process_pb2.ProcessRequest.FromString, process_pb2.ProcessResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("meshloom.v1.NodeService", {"Process": handler}),)
    )
    server.add_insecure_port(os.environ["MESHLOOM_LISTEN"])
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
