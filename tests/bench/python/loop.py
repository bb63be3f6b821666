"""The typed JSON map without Meshloom: `loop.py PAYLOAD EVENTS` says after each so many events how many are done."""

import sys

import msgspec
from reading import Reading, score


def main() -> None:
    """Runs until it is killed."""
    payload, events = sys.argv[1].encode(), int(sys.argv[2])
    decode, encode = msgspec.json.Decoder(Reading).decode, msgspec.json.Encoder().encode
    done = 0
    while True:
        encoded = [encode(score(decode(payload))) for _ in range(events)]
        done += len(encoded)
        print(done, flush=True)


if __name__ == "__main__":
    main()
