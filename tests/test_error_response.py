"""An error of bearerd as an HTTP response."""

from __future__ import annotations

import pytest

from bearerd.error_response import error_document, error_fields
from bearerd.errors import (
    AuthorityUnavailable,
    BearerdError,
    ClientKeyRequired,
    HostForbidden,
    LoginRequired,
    MethodNotAllowed,
)


def test_the_body_has_the_shape_of_openai_s_errors() -> None:
    """SDKs read message and code from it."""
    assert error_document(LoginRequired("run `bearerd login`", reason="expired")) == {
        "error": {
            "message": "run `bearerd login`",
            "type": "bearerd_error",
            "code": "login_required",
            "param": None,
        }
    }


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (HostForbidden("no"), [("x-bearerd-error", "host_forbidden")]),
        (
            AuthorityUnavailable("later", retry_after_seconds=3),
            [("x-bearerd-error", "authority_unavailable"), ("Retry-After", "3")],
        ),
        (
            MethodNotAllowed("no"),
            [("x-bearerd-error", "method_not_allowed"), ("Allow", "GET, HEAD")],
        ),
        (
            ClientKeyRequired("no"),
            [
                ("x-bearerd-error", "client_key_required"),
                ("WWW-Authenticate", 'Bearer realm="bearerd"'),
            ],
        ),
        (BearerdError("failed"), [("x-bearerd-error", "internal_error")]),
    ],
    ids=lambda value: value.code if isinstance(value, BearerdError) else "",
)
def test_every_error_is_marked_and_has_what_its_status_requires(
    error: BearerdError, fields: list[tuple[str, str]]
) -> None:
    """RFC 9110 section 15.5: a 401 has a challenge, a 405 the methods that are allowed."""
    assert error_fields(error, "GET, HEAD") == fields
