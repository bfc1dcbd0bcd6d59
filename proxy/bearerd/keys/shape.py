"""The shape of a client key, and which strings are too weak to be one. Pure.

A key of bearerd has the shape of a JWT, because pi and OpenClaw decode their key and
refuse to start without the claim `chatgpt_account_id`. The claims prove nothing: the ring
looks the whole string up.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from typing import Final

NAME_ALLOWED: Final = (
    "letters, digits, '.', '_' and '-', at most 63, first a letter or digit"
)

MINIMUM_CHARACTERS: Final = 24
"""Of a key in the settings. 24 random letters and digits have about 140 bits."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

# 2100-01-01: clients that check the expiry of their key never see it pass.
_FAR_EXPIRY_SECONDS = 4102444800

# Found in sample files and tutorials in the place of a key; letters and digits only.
_SAMPLES = (
    "changeme",
    "replaceme",
    "replacethis",
    "yourkey",
    "yourclientkey",
    "yourapikey",
    "yoursecret",
    "yourtoken",
    "placeholder",
    "insertkey",
    "insertyour",
    "secretkeyhere",
    "samplekey",
    "examplekey",
    "abcdefghijkl",
    "0123456789",
    "1234567890",
)
_FEWEST_DIFFERENT_CHARACTERS = 8


def is_key_name(name: str) -> bool:
    """Return True if a key may have this name; see `NAME_ALLOWED`."""
    return _NAME.fullmatch(name) is not None


def mint(name: str) -> str:
    """Return a new key for the client *name*: `header.payload.random`, 256 random bits.

    The payload part holds neither `-` nor `_`, because pi decodes it with `atob`. This
    holds by itself: base64url has those two for ASCII text only where `>`, `?`, `~` or
    DEL ends a group of three bytes, and neither the claims nor a name contain them.
    """
    payload = {
        "exp": _FAR_EXPIRY_SECONDS,
        "https://api.openai.com/auth": {
            "chatgpt_account_id": "bearerd",
            "chatgpt_plan_type": "plus",
        },
        "https://api.openai.com/profile": {"email": f"{name}@bearerd.invalid"},
    }
    header = {"alg": "none", "typ": "JWT"}
    return f"{_part(header)}.{_part(payload)}.{secrets.token_urlsafe(32)}"


def weakness(key: str) -> str | None:
    """Return what *key*, from the settings, would have to be; None if it is strong enough."""
    if len(key) < MINIMUM_CHARACTERS:
        return f"at least {MINIMUM_CHARACTERS} characters"
    if not all("!" <= character <= "~" for character in key):
        # RFC 9110 section 5.5: other characters do not survive in every field parser.
        return "visible ASCII characters without spaces"
    if len(set(key)) < _FEWEST_DIFFERENT_CHARACTERS:
        return f"a random key with at least {_FEWEST_DIFFERENT_CHARACTERS} different characters"
    letters = re.sub(r"[^a-z0-9]", "", key.lower())
    if any(sample in letters for sample in _SAMPLES):
        return "a random key of your own, not one from a sample"
    return None


def _part(claims: Mapping[str, object]) -> str:
    text = json.dumps(claims, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("ascii")).rstrip(b"=").decode("ascii")
