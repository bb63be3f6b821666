"""What both kinds of streams have in common."""


class StreamMisused(Exception):
    """The coordinator broke the order of requests; the stream ends INVALID_ARGUMENT as PROTOCOL_VIOLATION."""


def opened_twice() -> StreamMisused:
    """A second `open`."""
    return StreamMisused("a stream is opened once; open another stream for another handler or config")
