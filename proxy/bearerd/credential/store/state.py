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
from bearerd.json_object import json_object

MOST = 1e15
"""No amount and no moment in the notes is as large; what is has been written wrongly."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account, and the person in it, that a profile is pinned to."""

    account_id: str | None = None
    user_id: str | None = None

    @classmethod
    def of(cls, credential: Credential) -> Account:
        """Return whose credential this is, as far as it says."""
        return cls(credential.account_id, credential.user_id)

    def accepts(self, other: Account) -> bool:
        """Say whether a credential of *other* may be taken up for this owner.

        An owner that names no account yet accepts any. One that does wants the same
        account. A person is compared where both sides name one, since a file without an
        id token names none.
        """
        if self.account_id not in (None, other.account_id):
            return False
        return None in (self.user_id, other.user_id) or self.user_id == other.user_id


@dataclass(frozen=True, slots=True)
class RefusedToken:
    """A refresh token that the authority refused for good, by fingerprint."""

    fingerprint: str
    reason: str


@dataclass(frozen=True, slots=True)
class BucketLevel:
    """What the bucket held at a moment. `at` is epoch seconds, so processes share it."""

    calls: float
    at: float


@dataclass(frozen=True, slots=True)
class StoreState:
    """All that is noted. Every part may be absent."""

    account: Account | None = None
    refused: RefusedToken | None = None
    level: BucketLevel | None = None

    def to_json(self) -> bytes:
        """Return the notes as a JSON object with a version."""
        parts = {"owner": self.account, "refused": self.refused, "level": self.level}
        document = {"version": 1} | {
            name: None if part is None else asdict(part) for name, part in parts.items()
        }
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> StoreState:
        """Return what can be understood of *content*; what cannot is absent.

        Notes that are lost cost a budget's refill or one refused call, never a login.
        """
        document = json_object(content) or {}
        return cls(
            account=_part(Account, document.get("owner"), _is_name),
            refused=_part(RefusedToken, document.get("refused"), _is_text),
            level=_part(BucketLevel, document.get("level"), _is_amount),
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
