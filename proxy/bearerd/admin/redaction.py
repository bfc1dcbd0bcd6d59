"""Removes secrets from what the program emits. Pure.

The last line of defence: a value that has a secret does not print it. A secret is
recognised by the name of its field, by its shape, or because it is a known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

HIDDEN: Final = "(hidden)"

SHORTEST_SECRET_CHARACTERS: Final = 8
"""A shorter known secret is not searched for: it may be a part of ordinary words."""

_SECRET_FIELD: Final = re.compile(
    r"(?:^|[_-])(?:(?:access|refresh|id|bearer|auth)[_-]?token|token|secret|password"
    r"|passwd|authorization|cookie|set[_-]cookie|api[_-]?key|client[_-]key"
    r"|bearerd[_-]key|device[_-]code|user[_-]code|code[_-]verifier)$",
    re.IGNORECASE,
)

_TOKEN = r"[A-Za-z0-9._~+/=-]"  # RFC 6750 section 2.1: b64token  # noqa: S105

_SHAPES: Final = (
    # A JWT, complete or cut off: its header begins with {" in base64url.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,4}"), HIDDEN),
    (re.compile(rf"\b(bearer|basic)\s+{_TOKEN}{{6,}}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # OpenAI's refresh tokens and opaque access tokens, and the sandbox's.
    (re.compile(rf"\b(?:sandbox-)?(?:rt|at)[._-](?=\S*\d){_TOKEN}{{6,}}"), HIDDEN),
    (re.compile(r"\b(?:sk|sess)-[A-Za-z0-9_-]{12,}"), HIDDEN),
    # A field of JSON, of a form, or of a query.
    (
        re.compile(
            r"([\"']?\b(?:access_token|refresh_token|id_token|client_secret|client_key"
            r"|code_verifier|device_auth_id|authorization_code|password)[\"']?\s*[:=]\s*"
            r"[\"']?)[^\s\"'&,;}]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"([?&](?:code|state|key|token)=)[^\s&#\"']+"), rf"\1{HIDDEN}"),
    # A user name and password in a URL.
    (re.compile(r"(://)[^/@\s\"']+@"), rf"\1{HIDDEN}@"),
)


class Redaction:
    """Replaces secrets, the *known* ones among them, in text and in nested values."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        long_enough = {s for s in known if len(s) >= SHORTEST_SECRET_CHARACTERS}
        # The longest first: one secret may be a part of another.
        patterns = sorted(map(re.escape, long_enough), key=len, reverse=True)
        self._known = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        """Return *text* without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for shape, replacement in _SHAPES:
            text = shape.sub(replacement, text)
        return text

    def fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Return *fields* without secrets, at any depth."""
        return {name: self._field(name, value) for name, value in fields.items()}

    def _field(self, name: str, value: object) -> object:
        if value is not None and _SECRET_FIELD.search(name):
            return HIDDEN
        return self._value(value)

    def _value(self, value: object) -> object:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(value)
            case Mapping():
                return self.fields({str(name): item for name, item in value.items()})
            case list() | tuple() | set() | frozenset():
                return [self._value(item) for item in value]
            case bytes():
                return self.text(value.decode("utf-8", "backslashreplace"))
            case _:
                return self.text(str(value))
