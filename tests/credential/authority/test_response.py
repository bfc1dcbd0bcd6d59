"""A response of the authority: its document, and the error code in it."""

from __future__ import annotations

import json

import pytest

from bearerd.credential.authority.response import (
    AuthorityResponse,
    error_code,
    is_success,
    text_field,
)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"error": {"code": "A_Code"}}, "a_code"),
        ({"error": {"code": "inner"}, "code": "outer"}, "inner"),
        ({"error": {}, "code": "outer"}, ""),
        ({"error": "Text", "code": "outer"}, "text"),
        ({"error": 7, "code": "outer"}, "outer"),
        ({"code": "outer"}, "outer"),
        ({"code": 7}, ""),
        ({"error": {"code": None}}, ""),
        ({}, ""),
    ],
)
def test_the_code_is_found_where_codex_finds_it(
    document: dict[str, object], code: str
) -> None:
    """In the error object, as the error itself, or at the top."""
    assert error_code(document) == code


@pytest.mark.parametrize(
    ("content", "document"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"[1]", {}),
        (b"", {}),
        (b"<html></html>", {}),
        (b"[" * 200_000, {}),
        (b'{"a":' * 200_000, {}),
    ],
    ids=["object", "array", "empty", "html", "deep-arrays", "deep-objects"],
)
def test_a_body_that_is_no_object_counts_as_an_empty_one(
    content: bytes, document: dict[str, object]
) -> None:
    """And none of them raises."""
    assert AuthorityResponse(200, {}, content).document == document


@pytest.mark.parametrize(
    ("status", "success"),
    [(199, False), (200, True), (204, True), (299, True), (300, False), (500, False)],
)
def test_2xx_is_success(status: int, success: bool) -> None:
    """The whole class, as RFC 9110 section 15.3 has it."""
    assert is_success(status) is success
    assert AuthorityResponse(status, {}, b"").is_success is success


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (None, "status 400"),
        ("invalid_grant", "status 400, invalid_grant"),
        ("a\x1b[31m\nred", "status 400, a [31m red"),
        ("x" * 1000, f"status 400, {'x' * 200}"),
    ],
)
def test_a_summary_is_one_short_printable_line(error: str | None, summary: str) -> None:
    """The code is text from outside, and goes to a terminal."""
    content = json.dumps({} if error is None else {"error": error}).encode()
    assert AuthorityResponse(400, {}, content).summary == summary


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), ("", None), (None, None), (7, None), (["a"], None)]
)
def test_a_field_that_is_no_text_is_not_there(value: object, text: str | None) -> None:
    """An empty string is none either."""
    assert text_field({"name": value}, "name") == text
    assert text_field({}, "name") is None


def test_a_response_shows_nothing_of_its_body() -> None:
    """It may hold tokens."""
    shown = repr(AuthorityResponse(200, {"x-secret": "canary"}, b"canary"))
    assert "canary" not in shown
