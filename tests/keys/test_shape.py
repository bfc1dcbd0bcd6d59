"""The shape of a client key, and which strings are too weak to be one."""

from __future__ import annotations

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.keys import shape


def decoded(key: str, index: int) -> dict[str, object]:
    """Decode one part of a key as agents do."""
    text = key.split(".")[index]
    claims = json.loads(base64.b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(claims, dict)
    return claims


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True))
def test_every_name_makes_a_key_that_agents_can_decode(name: str) -> None:
    """Three parts; the payload has no - and _, because pi decodes it with `atob`."""
    key = shape.mint(name)
    header, payload, random = key.split(".")
    assert decoded(key, 0) == {"alg": "none", "typ": "JWT"}
    assert re.fullmatch(r"[A-Za-z0-9]+", header)
    assert re.fullmatch(r"[A-Za-z0-9+/]+", payload)
    claims = decoded(key, 1)
    assert claims["exp"] == 4102444800
    assert claims["https://api.openai.com/auth"] == {
        "chatgpt_account_id": "bearerd",
        "chatgpt_plan_type": "plus",
    }
    assert claims["https://api.openai.com/profile"] == {
        "email": f"{name}@bearerd.invalid"
    }
    assert len(base64.urlsafe_b64decode(random + "=")) == 32


def test_two_keys_of_one_name_differ() -> None:
    """The last part is random."""
    assert len({shape.mint("same").split(".")[2] for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "9", "x" * 63])
def test_a_plain_name_is_allowed(name: str) -> None:
    """Letters, digits, '.', '_' and '-', at most 63."""
    assert shape.is_key_name(name)


@pytest.mark.parametrize(
    "name", ["", ".x", "-x", "a b", "a/b", "\u00e9", "x" * 64, "a\n"]
)
def test_any_other_name_is_refused(name: str) -> None:
    """Names appear in metrics and logs."""
    assert not shape.is_key_name(name)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("short", "at least 24"),
        ("x" * 23, "at least 24"),
        ("changeme-changeme-changeme", "sample"),
        ("CHANGE_ME_9f2c7a5be4d84e1f", "sample"),
        ("your-client-key-goes-in-here", "sample"),
        ("abababababababababababababab", "different"),
        ("9f2c7a5be4d84e1fa330 6b72", "visible"),
        ("9f2c7a5be4d84e1fa330\u00e96b72", "visible"),
    ],
)
def test_a_weak_key_has_a_reason(key: str, reason: str) -> None:
    """Too short, not sendable in a field, too regular, or from a sample file."""
    weakness = shape.weakness(key)
    assert weakness is not None
    assert reason in weakness
    assert key not in weakness


@pytest.mark.parametrize(
    "key", ["9f2c7a5be4d84e1fa3306b72", shape.mint("x")], ids=["hex", "minted"]
)
def test_a_random_key_is_strong_enough(key: str) -> None:
    """24 hexadecimal digits are; bearerd's own keys are."""
    assert shape.weakness(key) is None
