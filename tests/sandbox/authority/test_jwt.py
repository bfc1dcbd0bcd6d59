"""The shape of the tokens."""

import base64
import json

import pytest

from bearerd.sandbox.authority.jwt import mint_jwt, read_claims


def test_a_token_has_three_full_parts_and_no_algorithm() -> None:
    """Clients that split on dots and reject empty parts accept it."""
    header, payload, signature = mint_jwt({"exp": 1}).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {
        "alg": "none",
        "typ": "JWT",
    }
    assert payload
    assert b"not signed" in base64.urlsafe_b64decode(signature + "==")


def test_claims_are_read_as_they_were_written() -> None:
    """For every length of padding that the encoding drops."""
    for length in range(8):
        claims = {"sub": "x" * length, "nested": {"a": [1, None]}}
        assert read_claims(mint_jwt(claims)) == claims


@pytest.mark.parametrize("text", ["", "a.b", "a..c", "a.!!.c", "a.W10.c", "a.e30"])
def test_a_text_that_is_no_token_is_refused(text: str) -> None:
    """Too few parts, an empty part, no base64, no object."""
    with pytest.raises(ValueError, match=r".+"):
        read_claims(text)
