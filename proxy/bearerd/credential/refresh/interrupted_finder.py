"""Reads the traces of an interrupted refresh: store, journal, spool and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import interpret
from bearerd.credential.refresh.interrupted import Case, InterruptedRefresh, classify
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.store.journal_entry import JournalEntry
from bearerd.credential.store.state import Account
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired

UNKNOWN_CREDENTIAL: Final = Credential("", "")
"""The base for a response if the presented credential is not known any more."""


class InterruptedRefreshFinder:
    """Compares store, journal and spool with *lineage*, the memory of this process."""

    def __init__(self, *, store: Store, clock: Clock, lineage: Lineage) -> None:
        self._store = store
        self._clock = clock
        self._lineage = lineage

    async def find(self, cached: Credential | None) -> InterruptedRefresh:
        """Return the case, with its record.

        While the file is torn, another credential is used in its place:

        1. A file that is written in place is torn if the process dies during the write.
           Then it is the successor that was being written, if that belongs to the
           pinned account.
        2. Otherwise it is *cached*.

        Raises:
            LoginRequired: there is a record, and the store holds no login.
            StoreUnavailable: a file cannot be read now.
        """
        entries = await self._store.journal.read()
        if not entries:
            return InterruptedRefresh(Case.NO_RECORD)  # 1
        try:
            stored = await self._store.load()
        except LoginRequired as error:
            if error.reason != "unreadable":
                raise
            written = await self._find_interrupted_write(entries)
            if written is not None and written.renewed is not None:  # 1
                stored = written.renewed
                entries = [replace(written, stored=stored.fingerprint)]
            elif cached is not None:  # 2
                stored = cached
            else:
                raise
        with_spool = [await self._with_spooled(stored, entry) for entry in entries]
        return classify(
            stored,
            with_spool,
            is_spent_locally=self._lineage.is_spent_locally,
            is_spent=self._lineage.is_spent,
        )

    async def _find_interrupted_write(
        self, entries: Sequence[JournalEntry]
    ) -> JournalEntry | None:
        """Return the record whose successor was being written in place, or None."""
        if not await self._store.is_written_in_place():
            return None
        pinned = (await self._store.read_state()).account
        for entry in entries:
            if entry.renewed is None:
                continue
            if pinned is None or pinned.accepts(Account.from_credential(entry.renewed)):
                return entry
        return None

    async def _with_spooled(
        self, stored: Credential, entry: JournalEntry
    ) -> JournalEntry:
        """Return *entry* with the response that the spool holds for it, if it is whole.

        If the file has been replaced since, the presented credential is not known. Then
        a response is used only if it contains both tokens.
        """
        if entry.spending is None:
            return entry
        body = await self._store.journal.read_response(entry.spending)
        if body is None:
            return entry
        try:
            grant = interpret(HTTPStatus.OK, {}, body)
        except AuthorityFailure:
            return entry  # the response is incomplete
        presented = entry.renewed or stored
        if presented.fingerprint != entry.spending:
            if grant.access_token is None or grant.refresh_token is None:
                return entry
            presented = UNKNOWN_CREDENTIAL
        successor = grant.applied_to(presented, self._clock.now())
        return replace(entry, spending=None, renewed=successor)
