"""The node as a user writes it: each event touched by a map, each looked at by a filter, each a typed map's."""

from reading import score

from meshloom import Node, serve

map_node = Node("map")
filter_node = Node("filter")
json_node = Node("json-map")
json_node.map(score)


@map_node.map
def append(payload: bytes) -> bytes:
    """One byte longer."""
    return payload + b"!"


@filter_node.filter
def keep(payload: bytes) -> bool:
    """All of them."""
    return len(payload) > 0


if __name__ == "__main__":
    serve(map_node, filter_node, json_node)
