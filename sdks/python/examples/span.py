"""Span: the user's own work shows in the trace of the event, below `process locate`."""

# snippet:start
from typing import Any

from lookup import place_of

from meshloom import Context, Node

node = Node("locate")


@node.map
def locate(reading: dict[str, Any], ctx: Context) -> dict[str, Any]:
    with ctx.tracer.start_as_current_span("lookup", attributes={"sensor": reading["sensor"]}) as span:
        place = place_of(reading["sensor"])
        span.set_attribute("found", place is not None)
    return reading | {"place": place}


# snippet:end


if __name__ == "__main__":
    node.serve()
