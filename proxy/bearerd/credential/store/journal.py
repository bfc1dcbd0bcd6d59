"""The journal around a spend: what must survive if we die between two steps.

A rotating refresh token exists once. Before it is presented, a record says which one is
being spent, and by whom; the response goes into the record before it goes anywhere else.
Whoever takes the lock next can then finish what was left: commit a response that landed,
or know that a token is *maybe spent*.

The record lies beside the store, or, where that cannot be written, in the rescue place.
It holds a response only between the authority's reply and the store's replacement.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bearerd.credential.store.spool import ResponseSpool
from bearerd.credential.token import Credential
from bearerd.errors import StoreError
from bearerd.files import atomic
from bearerd.json_object import json_object


@dataclass(frozen=True, slots=True)
class Presenter:
    """Which process presents the token. For people: the lock alone decides."""

    pid: int
    host: str

    @classmethod
    def this_process(cls) -> Presenter:
        """Return the current process."""
        return cls(os.getpid(), socket.gethostname())


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One spend under way. Tokens are named by fingerprint; `since` is epoch seconds.

    `stored` is what the store holds meanwhile. `spending` is what is being presented,
    None once its response is in. `renewed` is the newest answer, if the store does not
    hold it yet: after a failed save that is the very token being spent.
    """

    stored: str
    spending: str | None
    since: float
    presenter: Presenter
    renewed: Credential | None = field(default=None, repr=False)

    def to_json(self) -> bytes:
        """Return the record. It holds tokens only if there is a response."""
        document: dict[str, Any] = {"version": 1} | asdict(self)
        document["spender"] = document.pop("presenter")
        if document["renewed"] is not None:
            del document["renewed"]["generation"]
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> JournalEntry | None:
        """Return the record in *content*, or None if it is torn or of another kind.

        Records are replaced whole, so a torn one was never finished: nothing depends
        on it.
        """
        document = json_object(content)
        if document is None:
            return None
        try:
            renewed, spending = document["renewed"], document["spending"]
            return cls(
                stored=str(document["stored"]),
                spending=None if spending is None else str(spending),
                since=float(document["since"]),
                presenter=_presenter(document["spender"]),
                renewed=_credential(renewed) if renewed is not None else None,
            )
        except (ValueError, TypeError, KeyError):
            return None


class Journal:
    """The record on disk. *places* are tried in order; the first that can be written
    holds it. Called only under the store's lock.

    The first lies in the store's folder, which is not made anew: while *is_gone* says
    that it has vanished, or is another one, nothing is written there.
    """

    def __init__(
        self, places: Sequence[Path], *, is_gone: Callable[[], bool] = lambda: False
    ) -> None:
        self._places = tuple(places)
        self._is_gone = is_gone
        self.spool = ResponseSpool([_spool_of(place) for place in places])

    def read(self) -> list[JournalEntry]:
        """Return the records that there are, the best first: answers, then the newest.

        More than one means that a place could not be cleared, or that a process died
        while it wrote: a record that is whole counts before it has got its name.
        """
        found = [entry for entry in map(_read, self._files()) if entry is not None]
        found.sort(key=lambda entry: (entry.renewed is None, -entry.since))
        return found

    async def write(self, entry: JournalEntry) -> Path:
        """Keep *entry* durably; return where.

        Raises:
            StoreError: no place can be written.
        """
        content = entry.to_json()
        reasons = []
        for index, place in enumerate(self._places):
            if index == 0 and self._is_gone():
                reasons.append(f"{place}: its folder is gone")
                continue
            write = atomic.replace if index else atomic.replace_in_folder
            try:
                await atomic.in_thread(write, place, content)
            except OSError as error:
                reasons.append(f"{place}: {error.strerror or error}")
            else:
                if entry.spending is None:
                    self.spool.clear()
                else:
                    self.spool.open(entry.spending)
                return place
        raise StoreError(
            f"no place to note a refresh before it is made ({'; '.join(reasons)}); make "
            "one of their folders writable for this user"
        )

    async def clear(self) -> None:
        """Forget the record: the spend is finished."""
        await asyncio.to_thread(self._unlink)

    def _unlink(self) -> None:
        self.spool.clear()
        for file in self._files():
            # What cannot be removed is recognised as finished by its fingerprint.
            with suppress(OSError):
                file.unlink()

    def _files(self) -> list[Path]:
        unnamed = [
            it for place in self._places for it in atomic.stale_temporaries(place)
        ]
        return [*self._places, *unnamed]


def _spool_of(place: Path) -> Path:
    return place.with_name(f"{place.name}-receipt")


def _read(place: Path) -> JournalEntry | None:
    try:
        return JournalEntry.from_json(place.read_bytes())
    except OSError:
        return None


def _presenter(fields: Mapping[str, Any]) -> Presenter:
    return Presenter(int(fields["pid"]), str(fields["host"]))


def _credential(fields: Mapping[str, Any]) -> Credential:
    found = Credential(**fields)
    if not all(isinstance(it, str) for it in (found.access_token, found.refresh_token)):
        raise TypeError("an answer is made of text")
    return found
