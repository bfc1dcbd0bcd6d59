"""What is kept beside a credential: it outlives a process and holds no secret.

All processes on one store share it, under the store's lock:

    owner         the account that the profile is pinned to
    refused       the refresh token that the authority refused for good
    level         what is left of the authority's budget
    retry         the last failure, and when the authority may be asked again
    spent         fingerprints of the tokens that were rotated away
    unaccepted    how many fresh tokens the upstream has refused in a row

The names are those of the file's JSON keys. A part that cannot be understood is absent:
that costs a refill of the budget or one refused call, never a login.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bearerd.credential.token import Credential
from bearerd.json_object import json_object

LARGEST = 1e15
"""No amount and no time in the file is as large; a larger one was written wrongly."""

SPENT_LIMIT = 1024
"""Fingerprints that are remembered. Of tokens that live an hour these are six weeks: a
backup from before them would be presented, which may end the login. They cost 20 KiB."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account, and the user in it."""

    account_id: str | None = None
    user_id: str | None = None

    @classmethod
    def of(cls, credential: Credential) -> Account:
        """Return the account of *credential*, as far as its tokens name it."""
        return cls(credential.account_id, credential.user_id)

    def accepts(self, other: Account) -> bool:
        """Return True if a credential of *other* may be used for this account.

        An account without an id accepts any: an older file names none, and the same
        login, written anew, does. The user is compared if both sides name one, since a
        file without an id token names none.
        """
        if self.account_id not in (None, other.account_id):
            return False
        return None in (self.user_id, other.user_id) or self.user_id == other.user_id


@dataclass(frozen=True, slots=True)
class RefusedToken:
    """A refresh token that the authority refused for good, by fingerprint.

    The refusal is one of *client_id* at *token_url*, at the epoch second *at*.
    """

    fingerprint: str
    reason: str
    token_url: str
    client_id: str
    at: float


@dataclass(frozen=True, slots=True)
class BucketLevel:
    """What a token bucket held at the epoch second *at*."""

    calls: float
    at: float


@dataclass(frozen=True, slots=True)
class RetryState:
    """The failure of the last refresh of a token: nothing is asked before *until*.

    It is one of *client_id* at *token_url*. *until* is epoch seconds; *failures* counts
    the failures of this *pace*, which is `fast` or `slow`, in a row.
    """

    fingerprint: str
    token_url: str
    client_id: str
    outcome: str
    reason: str
    pace: str
    failures: int
    until: float


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """How many fresh tokens in a row had no acceptance; the last one came at *at*."""

    count: int
    at: float


@dataclass(frozen=True, slots=True)
class StoreState:
    """The whole state. Every part may be absent."""

    account: Account | None = None
    refused: RefusedToken | None = None
    level: BucketLevel | None = None
    retry: RetryState | None = None
    spent: tuple[str, ...] = ()
    unaccepted: Unaccepted | None = None

    def with_spent(self, *fingerprints: str) -> tuple[str, ...]:
        """Return `spent` with *fingerprints* added, bounded."""
        others = tuple(one for one in self.spent if one not in fingerprints)
        return (*others, *fingerprints)[-SPENT_LIMIT:]

    def to_json(self) -> bytes:
        """Return the state as a JSON object with a version."""
        parts = {
            "owner": self.account,
            "refused": self.refused,
            "level": self.level,
            "retry": self.retry,
            "unaccepted": self.unaccepted,
        }
        document: dict[str, Any] = {"version": 1} | {
            name: None if part is None else asdict(part) for name, part in parts.items()
        }
        document["spent"] = list(self.spent)
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> StoreState:
        """Return the parts of *content* that can be understood."""
        document = json_object(content) or {}
        return cls(
            account=_part(Account, document.get("owner"), _is_name),
            refused=_part(RefusedToken, document.get("refused")),
            level=_part(BucketLevel, document.get("level")),
            retry=_part(RetryState, document.get("retry")),
            spent=_names(document.get("spent")),
            unaccepted=_part(Unaccepted, document.get("unaccepted")),
        )


def _part(
    kind: type[Any],
    value: object,
    is_valid: Callable[[str, object], bool] | None = None,
) -> Any:
    """Return *value* as a *kind* if it has the fields of one, each of the right type.

    A value of another type would break every later refresh, wherever it is first used.
    """
    if not isinstance(value, dict):
        return None
    types = kind.__annotations__
    check = is_valid or (lambda name, one: _is_typed(types.get(name), one))
    if not all(check(name, one) for name, one in value.items()):
        return None
    try:
        return kind(**value)
    except TypeError:
        return None


def _is_typed(annotation: object, value: object) -> bool:
    if annotation == "str":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < LARGEST and (annotation == "float" or isinstance(value, int))


def _is_name(_name: str, value: object) -> bool:
    return value is None or isinstance(value, str)


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(one for one in value if isinstance(one, str))[-SPENT_LIMIT:]
