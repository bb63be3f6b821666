"""SIGTERM and SIGINT, heard by whichever thread the system gives them to."""

from __future__ import annotations

import signal
import socket

_ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Takes the signals that end a process. For the main thread, which Python tells of signals.

    A lock that the main thread waits for is not given up when the system hands the signal to another thread, so it
    waits for bytes, which the interpreter writes as soon as a signal arrives.
    """

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, lambda *_: None)

    def wait(self) -> int:
        """The next signal's number; 0 after done()."""
        while (number := self._read.recv(1)[0]) not in (0, *_ENDING):
            pass
        return number

    def done(self) -> None:
        """Ends a wait; from any thread."""
        self._write.send(b"\0")
