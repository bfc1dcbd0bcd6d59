"""One record of the journal. Frozen values; `store.journal` reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bearerd.credential.token import Credential, parse_credential
from bearerd.json_object import json_object


@dataclass(frozen=True, slots=True)
class Presenter:
    """The process that presents the token. For messages only; the lock decides."""

    pid: int
    host: str


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One refresh in progress. Tokens are named by fingerprint; *since* is epoch seconds.

    *stored* is the credential in the store. *spending* is the token that is being
    presented, or None once its response has arrived. *renewed* is a credential that is
    newer than *stored* and not stored yet, or None. Its own token is the one being
    presented if both are set.
    """

    stored: str
    spending: str | None
    since: float
    presenter: Presenter
    renewed: Credential | None = field(default=None, repr=False)

    def to_json(self) -> bytes:
        """Return the record as JSON. It contains tokens only if *renewed* is set."""
        document: dict[str, Any] = {"version": 1} | asdict(self)
        document["spender"] = document.pop("presenter")
        if document["renewed"] is not None:
            del document["renewed"]["generation"]
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> JournalEntry | None:
        """Return the record in *content*, or None if it is torn or invalid.

        Records are replaced atomically, so a torn one was never in use.
        """
        try:
            document = json_object(content) or {}
            renewed, spending = document["renewed"], document["spending"]
            return cls(
                stored=str(document["stored"]),
                spending=None if spending is None else str(spending),
                since=float(document["since"]),
                presenter=_presenter(document["spender"]),
                renewed=parse_credential(renewed) if renewed is not None else None,
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            return None


def _presenter(fields: Mapping[str, Any]) -> Presenter:
    return Presenter(int(fields["pid"]), str(fields["host"]))
