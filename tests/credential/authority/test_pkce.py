"""The authorization request: its URL, its proof key, and the redirect that follows."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from bearerd.credential.authority.errors import SignInFailed
from bearerd.credential.authority.pkce import (
    AuthorizationRequest,
    StateMismatch,
    parse_query,
)


def test_the_challenge_is_that_of_the_standard() -> None:
    """The example of RFC 7636, appendix B."""
    request = AuthorizationRequest(
        "state", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    assert request.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert request.verifier not in repr(request)


def test_the_page_asks_for_all_that_codex_asks_for() -> None:
    """With a proof key by S256, and the redirect URI as it is given."""
    request = AuthorizationRequest.new()
    url = request.authorization_url("https://issuer.invalid", "app", "http://l/back")
    assert url.startswith("https://issuer.invalid/oauth/authorize?")
    query = parse_qs(urlsplit(url).query)
    assert query["response_type"] == ["code"]
    assert query["code_challenge"] == [request.challenge]
    assert query["code_challenge_method"] == ["S256"]
    assert query["client_id"] == ["app"]
    assert query["redirect_uri"] == ["http://l/back"]
    assert "offline_access" in query["scope"][0]
    assert query["state"] == [request.state]
    assert request.verifier not in url


def test_no_two_requests_are_alike() -> None:
    """32 random bytes of state; the verifier has the 43 to 128 characters allowed."""
    one, other = AuthorizationRequest.new(), AuthorizationRequest.new()
    assert one.state != other.state
    assert one.verifier != other.verifier
    assert len(one.state) >= 43
    assert 43 <= len(one.verifier) <= 128


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"code": "x"},
        {"code": "x", "state": "other"},
        {"code": "x", "state": "ä"},
        {"error": "access_denied", "state": "other"},
        {"state": "mine"},
        {"code": "", "state": "mine"},
    ],
    ids=[
        "empty",
        "no-state",
        "another",
        "not-ascii",
        "anothers-error",
        "no-code",
        "empty-code",
    ],
)
def test_a_redirect_of_another_sign_in_does_not_count(query: dict[str, str]) -> None:
    """A redirect without a code has none either; an error counts only with the right state."""
    with pytest.raises(StateMismatch):
        AuthorizationRequest("mine", "v").code_from(query)


def test_a_redirect_with_the_right_state_gives_its_code() -> None:
    """With any other fields in the query."""
    query = {"code": "x", "state": "mine", "scope": "openid"}
    assert AuthorizationRequest("mine", "v").code_from(query) == "x"


def test_an_authority_that_declines_is_quoted_in_one_short_line() -> None:
    """The text comes from outside: no control characters, and a limited length."""
    query = {
        "state": "mine",
        "error": "access_denied",
        "error_description": "No\x1b[2J\nway. " + "x" * 1000,
    }
    with pytest.raises(SignInFailed, match=r"access_denied No \[2J way\.") as raised:
        AuthorizationRequest("mine", "v").code_from(query)
    assert len(raised.value.message) < 300
    assert raised.value.message.isprintable()


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (
            "http://localhost:1455/auth/callback?code=x&state=y",
            {"code": "x", "state": "y"},
        ),
        ("  http://localhost/?code=x\n", {"code": "x"}),
        ("http://localhost/auth/callback", {}),
        ("nothing", {}),
        ("http://[", {}),
        ("", {}),
    ],
)
def test_the_query_of_a_pasted_line_is_read(text: str, query: dict[str, str]) -> None:
    """A line that is no URL has none."""
    assert parse_query(text) == query
