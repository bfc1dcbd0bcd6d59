"""The journal: a record of the refresh in progress, which survives a crash.

A rotating refresh token can be used once. Before it is presented, a record names it and
the process that presents it. The tokens of the response are written to the record before
they are used. After a crash, the next holder of the lock stores those tokens, or knows
that a token is maybe spent. The cases are in `credential.refresh.interrupted`.

The record is a file beside the store or, if that folder cannot be written, the rescue
file. It contains tokens only from the authority's response until the store is replaced.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from bearerd.credential.store.journal_entry import JournalEntry, Presenter
from bearerd.credential.store.reader import StoreReader
from bearerd.credential.store.spool import ResponseSpool
from bearerd.errors import StoreError
from bearerd.files import atomic
from bearerd.files.regular import read_regular
from bearerd.files.threads import run_to_end

SPOOL_SUFFIX = "-receipt"
"""The suffix of the spool's file."""

RECORD_LIMIT_BYTES = 1 << 20
"""A record is about as long as the tokens in it; a larger file is not a record."""


def this_process() -> Presenter:
    """Return the current process."""
    return Presenter(os.getpid(), socket.gethostname())


class Journal:
    """The record on disk. Used only under the store's lock.

    *paths* are tried in order, and the first one that can be written gets the record. The
    first path is in the store's folder. That folder is never created here, and nothing is
    written there while *is_folder_missing* returns True.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        is_folder_missing: Callable[[], bool] = lambda: False,
        reader: StoreReader | None = None,
    ) -> None:
        self._paths = tuple(paths)
        self._is_folder_missing = is_folder_missing
        self._reader = reader or StoreReader(str(paths[0]))
        self.spool = ResponseSpool(
            [path.with_name(path.name + SPOOL_SUFFIX) for path in paths]
        )

    async def read(self) -> list[JournalEntry]:
        """Return the records: those with tokens first, then by time, newest first.

        There are several if a file could not be removed, or if a process died during a
        write: a complete temporary file counts as a record.

        Raises:
            StoreUnavailable: the file system does not respond.
        """
        entries = await self._reader.read(self._read)
        entries.sort(key=lambda entry: (entry.renewed is None, -entry.since))
        return entries

    async def read_response(self, fingerprint: str) -> bytes | None:
        """Return the received part of the response to a token, or None.

        Raises:
            StoreUnavailable: the file system does not respond.
        """
        return await self._reader.read(partial(self.spool.read, fingerprint))

    async def write(self, entry: JournalEntry) -> Path:
        """Write *entry* durably; return the path of the record.

        Raises:
            StoreError: none of the paths can be written.
        """
        try:
            return await run_to_end(partial(self._write_entry, entry))
        except OSError as error:  # no thread can be started
            raise StoreError(f"the refresh cannot be recorded ({error})") from error

    async def clear(self) -> None:
        """Remove the record: the refresh is complete."""
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
        path = self._write(entry.to_json())
        if entry.spending is None:
            self.spool.clear()
        else:
            self.spool.open(entry.spending)
        return path

    def _write(self, content: bytes) -> Path:
        reasons = []
        for index, path in enumerate(self._paths):
            if index == 0 and self._is_folder_missing():
                reasons.append(f"{path}: its folder is missing")
                continue
            try:
                atomic.replace(path, content, creates_folder=index > 0)
            except OSError as error:
                reasons.append(f"{path}: {error.strerror or error}")
            else:
                return path
        raise StoreError(
            f"the refresh cannot be recorded ({'; '.join(reasons)}); make one of these "
            "folders writable for this user"
        )

    def _unlink(self) -> None:
        self.spool.clear()
        for file in self._files():
            # A record that cannot be removed is superseded: its fingerprints show that.
            with suppress(OSError):
                file.unlink()

    def _files(self) -> list[Path]:
        temporaries = [
            file for path in self._paths for file in atomic.stale_temporaries(path)
        ]
        return [*self._paths, *temporaries]
