"""What a handler says about an event other than by its result: reject, retry, drop."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, final

from . import reasons


class Reject(Exception):
    """The event can never be handled: it becomes a dead letter now, under `reason` (a code like NO_TEMPERATURE)."""

    def __init__(self, message: str = "", *, reason: str = reasons.REJECTED) -> None:
        super().__init__(message)
        self.message = message
        self.reason: str = reasons.checked(reason)


class PayloadError(Reject, ValueError):
    """The payload is not what the handler asked for. Uncaught, it rejects the event as PAYLOAD_MISMATCH."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=reasons.PAYLOAD_MISMATCH)


class Retry(Exception):
    """The event cannot be handled now: it comes again, not before `after` (seconds) if given."""

    def __init__(
        self,
        message: str = "",
        *,
        after: float | timedelta | None = None,
        cause: BaseException | None = None,
        reason: str = reasons.RETRY,
    ) -> None:
        super().__init__(message)
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not 0 <= seconds <= 86_400 * 365:
            raise ValueError(f"Retry(after=...) is in seconds, 0 to a year, not {after!r}")
        self.after = seconds
        self.message: str = message or (f"{type(cause).__name__}: {cause}" if cause is not None else "")
        self.reason: str = reasons.checked(reason)
        if cause is not None:
            self.__cause__: BaseException | None = cause


@final
class Drop:
    """Type of DROP."""

    def __repr__(self) -> str:
        return "DROP"


#: Returned by a handler: the event ends here, on purpose, with no output.
DROP: Final = Drop()


class ConfigError(Exception):
    """The config is refused. Set-up may raise it for what only set-up can judge."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.violations: list[tuple[str, str]] = [(field, message)]

    @classmethod
    def of(cls, violations: list[tuple[str, str]]) -> ConfigError:
        """One error for several fields: pairs of field and message."""
        error = cls("; ".join(f"{field}: {text}" if field else text for field, text in violations))
        error.violations = violations
        return error


class ServeError(Exception):
    """The node cannot be served. `exit_code` is the process's exit status (69 unavailable, 78 configuration)."""

    def __init__(self, message: str, exit_code: int = 69) -> None:
        super().__init__(message)
        self.exit_code = exit_code
