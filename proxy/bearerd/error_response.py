"""An error of bearerd as an HTTP response: OpenAI's body, and the fields that mark it. Pure.

Both listeners answer with it, so that a client recognises the sender of an error by
`x-bearerd-error`, wherever it came from.
"""

from __future__ import annotations

from http import HTTPStatus

from bearerd.errors import BearerdError

ERROR_FIELD = "x-bearerd-error"

ERROR_TYPE = "bearerd_error"

CHALLENGE = 'Bearer realm="bearerd"'
"""What every 401 must have (RFC 9110 section 15.5.2); the scheme is RFC 6750's."""


def error_document(error: BearerdError) -> dict[str, dict[str, str | None]]:
    """Return the JSON document of *error*, in the shape of OpenAI's errors."""
    return {
        "error": {
            "message": error.message,
            "type": ERROR_TYPE,
            "code": error.code,
            "param": None,
        }
    }


def error_fields(error: BearerdError, allow: str) -> list[tuple[str, str]]:
    """Return the field lines that *error* needs, beside those of its body.

    *allow* is the list of methods that a 405 must have (RFC 9110 section 15.5.6).
    """
    fields = [(ERROR_FIELD, error.code)]
    if error.retry_after_seconds is not None:
        fields.append(("Retry-After", str(error.retry_after_seconds)))
    if error.status is HTTPStatus.METHOD_NOT_ALLOWED:
        fields.append(("Allow", allow))
    if error.status is HTTPStatus.UNAUTHORIZED:
        fields.append(("WWW-Authenticate", CHALLENGE))
    return fields
