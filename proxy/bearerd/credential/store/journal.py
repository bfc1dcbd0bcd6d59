"""The record around a refresh: what must survive a death between two steps.

A rotating refresh token exists once. Before it is presented, a record names it and the
process that presents it; the tokens of the response go into the record before they go
anywhere else. The next holder of the lock can then finish what was left: store tokens
that arrived, or know that a token is maybe spent. The cases are in
`credential.refresh.transaction`.

The record lies beside the store or, if that folder cannot be written, in the rescue
place. It holds tokens only between the authority's response and the store's replacement.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bearerd.credential.store.reader import StoreReader
from bearerd.credential.store.spool import ResponseSpool
from bearerd.credential.token import Credential, credential_of
from bearerd.errors import StoreError
from bearerd.files import atomic
from bearerd.files.regular import read_regular
from bearerd.files.threads import run_to_end
from bearerd.json_object import json_object

SPOOL_SUFFIX = "-receipt"
"""The suffix of the spool's file."""

RECORD_LIMIT_BYTES = 1 << 20
"""A record is about as long as the tokens in it; a larger file is none."""


@dataclass(frozen=True, slots=True)
class Presenter:
    """The process that presents the token. For messages: the lock alone decides."""

    pid: int
    host: str

    @classmethod
    def this_process(cls) -> Presenter:
        """Return the current process."""
        return cls(os.getpid(), socket.gethostname())


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One refresh under way. Tokens are named by fingerprint; *since* is epoch seconds.

    *stored* is what the store holds meanwhile. *spending* is the token that is being
    presented, or None once its response has arrived. *renewed* is the newest credential,
    if the store does not hold it yet; after a failed save, that is the credential whose
    token is being presented.
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

        Records are replaced whole, so a torn one was never finished, and nothing depends
        on it.
        """
        try:
            document = json_object(content) or {}
            renewed, spending = document["renewed"], document["spending"]
            return cls(
                stored=str(document["stored"]),
                spending=None if spending is None else str(spending),
                since=float(document["since"]),
                presenter=_presenter(document["spender"]),
                renewed=credential_of(renewed) if renewed is not None else None,
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            return None


class Journal:
    """The record on disk. Called only under the store's lock.

    *places* are tried in order; the first that can be written holds the record. The
    first of them lies in the store's folder, which is not made anew: while *is_gone*
    returns True for it, nothing is written there.
    """

    def __init__(
        self,
        places: Sequence[Path],
        *,
        is_gone: Callable[[], bool] = lambda: False,
        reader: StoreReader | None = None,
    ) -> None:
        self._places = tuple(places)
        self._is_gone = is_gone
        self._reader = reader or StoreReader(str(places[0]))
        self.spool = ResponseSpool(
            [place.with_name(place.name + SPOOL_SUFFIX) for place in places]
        )

    async def read(self) -> list[JournalEntry]:
        """Return the records, the best first: those with tokens, then the newest.

        There is more than one if a place could not be cleared, or if a process died
        while it wrote: a record that is whole counts before it has its name.

        Raises:
            StoreUnavailable: the file system does not respond.
        """
        found = await self._reader.read(self._read)
        found.sort(key=lambda entry: (entry.renewed is None, -entry.since))
        return found

    async def read_response(self, fingerprint: str) -> bytes | None:
        """Return what arrived of the response to a token, or None.

        Raises:
            StoreUnavailable: the file system does not respond.
        """
        return await self._reader.read(partial(self.spool.read, fingerprint))

    async def write(self, entry: JournalEntry) -> Path:
        """Keep *entry* durably; return where.

        Raises:
            StoreError: no place can be written.
        """
        try:
            return await run_to_end(partial(self._write_entry, entry))
        except OSError as error:  # no thread can be started
            raise StoreError(f"the refresh cannot be recorded ({error})") from error

    async def clear(self) -> None:
        """Remove the record: the refresh is finished."""
        with suppress(OSError):  # no thread can be started
            await run_to_end(self._unlink)

    def _read(self) -> list[JournalEntry]:
        entries = []
        for file in self._files():
            with suppress(OSError):
                content = read_regular(file, RECORD_LIMIT_BYTES)
                entries.append(JournalEntry.from_json(content))
        return [entry for entry in entries if entry is not None]

    def _write_entry(self, entry: JournalEntry) -> Path:
        place = self._write(entry.to_json())
        if entry.spending is None:
            self.spool.clear()
        else:
            self.spool.open(entry.spending)
        return place

    def _write(self, content: bytes) -> Path:
        reasons = []
        for index, place in enumerate(self._places):
            if index == 0 and self._is_gone():
                reasons.append(f"{place}: its folder is gone")
                continue
            try:
                atomic.replace(place, content, makes_folder=index > 0)
            except OSError as error:
                reasons.append(f"{place}: {error.strerror or error}")
            else:
                return place
        raise StoreError(
            f"no place to record a refresh before it is made ({'; '.join(reasons)}); "
            "make one of these folders writable for this user"
        )

    def _unlink(self) -> None:
        self.spool.clear()
        for file in self._files():
            # A record that cannot be removed is recognised as finished by fingerprint.
            with suppress(OSError):
                file.unlink()

    def _files(self) -> list[Path]:
        unnamed = [
            file for place in self._places for file in atomic.stale_temporaries(place)
        ]
        return [*self._places, *unnamed]


def _presenter(fields: Mapping[str, Any]) -> Presenter:
    return Presenter(int(fields["pid"]), str(fields["host"]))
