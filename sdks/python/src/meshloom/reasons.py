"""Stable reason codes that this SDK puts into failures. The user's own codes come from Reject and Retry."""

from __future__ import annotations

import re

REJECTED = "REJECTED"
RETRY = "RETRY"
HANDLER_ERROR = "HANDLER_ERROR"
NO_RESULT = "NO_RESULT"
NOT_BOOL = "NOT_BOOL"
NOT_ITERABLE = "NOT_ITERABLE"
PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"
OUTPUT_INVALID = "OUTPUT_INVALID"
EVENT_TOO_LARGE = "EVENT_TOO_LARGE"
ATTRIBUTE_TOO_LARGE = "ATTRIBUTE_TOO_LARGE"
TOO_MANY_EXTENSIONS = "TOO_MANY_EXTENSIONS"
ROUTE_UNDECLARED = "ROUTE_UNDECLARED"
RESULT_INDEX_REPEATED = "RESULT_INDEX_REPEATED"
UNACCOUNTED = "UNACCOUNTED"
KEY_HELD = "KEY_HELD"
TIMEOUT = "TIMEOUT"
CANCELLED = "CANCELLED"
BATCH_MALFORMED = "BATCH_MALFORMED"
BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
LIMITS_EXCEEDED = "LIMITS_EXCEEDED"
PROTOCOL_VIOLATION = "PROTOCOL_VIOLATION"
PROTOCOL_UNSUPPORTED = "PROTOCOL_UNSUPPORTED"
HANDLER_UNKNOWN = "HANDLER_UNKNOWN"
HANDLER_ROLE_MISMATCH = "HANDLER_ROLE_MISMATCH"
SETUP_FAILED = "SETUP_FAILED"
SOURCE_FAILED = "SOURCE_FAILED"
CHECKPOINT_REPEATED = "CHECKPOINT_REPEATED"

#: The message of KEY_HELD.
HELD_MESSAGE = "an earlier event of the same key is to be retried first"

_PATTERN = re.compile(r"[A-Z0-9_]{1,64}")


def checked(reason: str) -> str:
    """Returns `reason` if it is a legal code, else raises ValueError."""
    if not isinstance(reason, str) or _PATTERN.fullmatch(reason) is None:
        raise ValueError(f"a reason is 1 to 64 characters of [A-Z0-9_], for instance NO_TEMPERATURE; not {reason!r}")
    return reason
