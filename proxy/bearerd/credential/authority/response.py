"""A response of the authorization server, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bearerd.credential.authority.errors import one_line
from bearerd.json_object import json_object


@dataclass(frozen=True, slots=True)
class AuthorityResponse:
    """A complete response. `headers` is case-insensitive."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """True for 2xx (RFC 9110 section 15.3)."""
        return is_success(self.status)

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in the body; an empty one if there is none."""
        return json_object(self.content) or {}

    @property
    def summary(self) -> str:
        """Status and error code for a message, such as `status 400, invalid_grant`."""
        code = one_line(error_code(self.document))
        return f"status {self.status}, {code}" if code else f"status {self.status}"


def is_success(status: int) -> bool:
    """Return True if *status* is 2xx (RFC 9110 section 15.3)."""
    return 200 <= status < 300  # noqa: PLR2004 - the two ends of the class


def error_code(document: Mapping[str, Any]) -> str:
    """Return the error code in *document* in lower case, or "".

    It is `error.code` in OpenAI's form, `error` in the form of RFC 6749 section 5.2, or
    `code` at the top level.
    """
    error = document.get("error")
    if isinstance(error, Mapping):
        code = error.get("code")
    else:
        code = error if isinstance(error, str) else document.get("code")
    return code.lower() if isinstance(code, str) else ""


def text_field(document: Mapping[str, Any], name: str) -> str | None:
    """Return the field *name* if it is a non-empty string, else None."""
    value = document.get(name)
    return value if isinstance(value, str) and value else None
