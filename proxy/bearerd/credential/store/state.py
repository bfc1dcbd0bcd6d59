"""The notes beside a credential: what must outlive a process, and holds no secret.

Three facts: whose login this is, which refresh token the authority refused for good,
and how much of the authority's budget is left. All processes on one store share them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bearerd.credential.token import Credential

MOST = 1e15
"""No amount and no moment in the notes is as large; what is has been written wrongly."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The account, and the person in it, that a profile is pinned to."""

    account_id: str | None = None
    user_id: str | None = None

    @classmethod
    def of(cls, credential: Credential) -> Owner:
        """Return whose credential this is, as far as it says."""
        return cls(credential.account_id, credential.user_id)

    def accepts(self, other: Owner) -> bool:
        """Say whether a credential of *other* may be taken up for this owner.

        An owner that names no account yet accepts any. One that does wants the same
        account. A person is compared where both sides name one, since a file without an
        id token names none.
        """
        if self.account_id not in (None, other.account_id):
            return False
        return None in (self.user_id, other.user_id) or self.user_id == other.user_id


@dataclass(frozen=True, slots=True)
class Refused:
    """A refresh token that the authority refused for good, by fingerprint."""

    fingerprint: str
    reason: str


@dataclass(frozen=True, slots=True)
class Level:
    """What the bucket held at a moment. `at` is epoch seconds, so processes share it."""

    calls: float
    at: float


@dataclass(frozen=True, slots=True)
class Notes:
    """All that is noted. Every part may be absent."""

    owner: Owner | None = None
    refused: Refused | None = None
    level: Level | None = None

    def to_json(self) -> bytes:
        """Return the notes as a JSON object with a version."""
        return json.dumps({"version": 1} | asdict(self), indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Notes:
        """Return what can be understood of *content*; what cannot is absent.

        Notes that are lost cost a budget's refill or one refused call, never a login.
        """
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(document, dict):
            return cls()
        return cls(
            owner=_part(Owner, document.get("owner"), _is_name),
            refused=_part(Refused, document.get("refused"), _is_text),
            level=_part(Level, document.get("level"), _is_amount),
        )


def _part(kind: type[Any], value: object, is_sound: Callable[[object], bool]) -> Any:
    """Return *value* as a *kind* if it has its fields, and all of them are sound.

    A value of another type would stop every later refresh, wherever it is first used.
    """
    if not isinstance(value, dict) or not all(map(is_sound, value.values())):
        return None
    try:
        return kind(**value)
    except TypeError:
        return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_amount(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < MOST
