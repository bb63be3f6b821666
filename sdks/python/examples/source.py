"""Source: the rows of a file, from behind the checkpoint on."""

# snippet:start
from collections.abc import Iterator
from dataclasses import dataclass

from meshloom import Node, Output, SourceContext


@dataclass
class Settings:
    path: str


node = Node("rows", config=Settings)


@node.source(checkpoint=int)
def rows(ctx: SourceContext[Settings]) -> Iterator[Output[bytes]]:
    with open(ctx.config.path, "rb") as file:
        for line, row in enumerate(file, start=1):
            if line > (ctx.checkpoint or 0):
                yield Output(row.rstrip(b"\n"), content_type="application/json", checkpoint=line)


# snippet:end


if __name__ == "__main__":
    node.serve()
