"""JSON from outside: one reader for files, tokens and responses.

`json.loads` raises `RecursionError`, which is no `ValueError`, for a document such as
`b"[" * 200_000`. What comes from outside must not choose which exception we raise, so
nothing else in this package calls it on such bytes. The sandbox is the exception: it
stands alone and has a reader of its own.
"""

from __future__ import annotations

import json
from typing import Any


def load_json(content: bytes | str) -> object:
    """Return the value in a JSON document (RFC 8259).

    Raises:
        ValueError: it is no JSON, not in UTF-8, UTF-16 or UTF-32, or nested too deeply.
    """
    try:
        value: object = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def json_object(content: bytes | str) -> dict[str, Any] | None:
    """Return the object in a JSON document, or None if it holds anything else.

    Never raises. Callers to whom an unreadable document means the same as an empty
    object write `json_object(content) or {}`.
    """
    try:
        value = load_json(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
