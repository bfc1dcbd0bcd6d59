"""The state beside a credential. It survives a restart and contains no secret.

All processes on one store share it, under the store's lock:

    owner         the account that the profile is pinned to
    refused       the refresh token that the authority has refused permanently
    level         the remaining budget of calls to the authority
    retry         the last failure, and when the authority may be called again
    spent         the fingerprints of spent tokens
    unaccepted    the number of new tokens that the upstream has rejected in a row

These are the JSON keys of the file. An invalid part counts as absent: that refills the
budget or causes one refused call, and never loses a login.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bearerd.credential.token import Credential
from bearerd.json_object import json_object

LARGEST = 1e15
"""The limit for numbers and times in the file; a larger value is invalid."""

SPENT_LIMIT = 1024
"""The number of fingerprints that are kept, in 20 KiB. With tokens that live an hour they
cover six weeks. The token of an older backup would be presented, which may end the login."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account, and the user in it."""

    account_id: str | None = None
    user_id: str | None = None

    @classmethod
    def from_credential(cls, credential: Credential) -> Account:
        """Return the account and user of *credential*, as far as they are known."""
        return cls(credential.account_id, credential.user_id)

    def accepts(self, other: Account) -> bool:
        """Return True if a credential of *other* may be used for this account.

        An account without an id accepts any account: an old file may name none, while the
        same login names one after it is written again. The user is compared only if both
        have one, since a file without an id token has none.
        """
        if self.account_id not in (None, other.account_id):
            return False
        return None in (self.user_id, other.user_id) or self.user_id == other.user_id


@dataclass(frozen=True, slots=True)
class RefusedToken:
    """A refresh token, by fingerprint, that the authority has refused permanently.

    *client_id* and *token_url* are those of the call, and *at* its time in epoch seconds.
    """

    fingerprint: str
    reason: str
    token_url: str
    client_id: str
    at: float


@dataclass(frozen=True, slots=True)
class BucketLevel:
    """The number of calls in a token bucket at the epoch second *at*."""

    calls: float
    at: float


@dataclass(frozen=True, slots=True)
class RetryState:
    """The last failure of a token. The authority is not called before *until*.

    *client_id* and *token_url* are those of the call. *until* is epoch seconds. *pace* is
    `fast` or `slow`; *failures* is the number of failures in a row at this pace. *status*
    is that of the response, or 0 if there was none.
    """

    fingerprint: str
    token_url: str
    client_id: str
    outcome: str
    reason: str
    pace: str
    failures: int
    until: float
    status: int = 0


@dataclass(frozen=True, slots=True)
class ConsecutiveRejections:
    """The number of new tokens in a row that the upstream has not accepted.

    *at* is when the last one was issued, in epoch seconds.
    """

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
    consecutive_rejections: ConsecutiveRejections | None = None

    def with_spent(self, *fingerprints: str) -> tuple[str, ...]:
        """Return `spent` with *fingerprints* added, bounded."""
        others = tuple(each for each in self.spent if each not in fingerprints)
        return (*others, *fingerprints)[-SPENT_LIMIT:]

    def to_json(self) -> bytes:
        """Return the state as a JSON object with a version."""
        parts = {
            "owner": self.account,
            "refused": self.refused,
            "level": self.level,
            "retry": self.retry,
            "unaccepted": self.consecutive_rejections,
        }
        document: dict[str, Any] = {"version": 1} | {
            name: None if part is None else asdict(part) for name, part in parts.items()
        }
        document["spent"] = list(self.spent)
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> StoreState:
        """Return the valid parts of *content*."""
        document = json_object(content) or {}
        return cls(
            account=_part(Account, document.get("owner"), _is_name),
            refused=_part(RefusedToken, document.get("refused")),
            level=_part(BucketLevel, document.get("level")),
            retry=_part(RetryState, document.get("retry")),
            spent=_names(document.get("spent")),
            consecutive_rejections=_part(
                ConsecutiveRejections, document.get("unaccepted")
            ),
        )


def _part(
    kind: type[Any],
    value: object,
    is_valid: Callable[[str, object], bool] | None = None,
) -> Any:
    """Return *value* as a *kind*, or None if a field is missing or has another type.

    A value of another type would fail later, in every refresh.
    """
    if not isinstance(value, dict):
        return None
    types = kind.__annotations__
    check = is_valid or (lambda name, item: _is_typed(types.get(name), item))
    if not all(check(name, item) for name, item in value.items()):
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
    return tuple(each for each in value if isinstance(each, str))[-SPENT_LIMIT:]
