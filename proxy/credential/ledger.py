"""The notes beside a credential: what must outlive a process, and holds no secret.

Three facts: whose login this is, which refresh token the authority refused for good,
and how much of the authority's budget is left. All processes on one store share them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from proxy.credential.budget import Level
from proxy.credential.token import Credential


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
        account; a person is compared only where both sides name one, since a file
        without an id token names none.
        """
        if self.account_id is None:
            return True
        if self.account_id != other.account_id:
            return False
        return None in (self.user_id, other.user_id) or self.user_id == other.user_id


@dataclass(frozen=True, slots=True)
class Refused:
    """A refresh token that the authority refused for good, by fingerprint."""

    fingerprint: str
    reason: str


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
        except ValueError:
            return cls()
        if not isinstance(document, dict):
            return cls()
        return cls(
            owner=_part(Owner, document.get("owner")),
            refused=_part(Refused, document.get("refused")),
            level=_part(Level, document.get("level")),
        )


def _part(kind: type[Any], value: object) -> Any:
    if not isinstance(value, dict):
        return None
    try:
        return kind(**value)
    except TypeError:
        return None
