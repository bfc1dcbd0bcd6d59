"""Reads the four places that a refresh which was broken off may have left traces in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import interpret
from bearerd.credential.refresh.leftover import Case, Leftover, classify
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.store.journal import JournalEntry
from bearerd.credential.store.state import Account
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired

NOTHING_KNOWN: Final = Credential("", "")
"""What a response is applied to if the credential that was presented is not known."""


class LeftoverFinder:
    """Compares store, journal and spool with the memory of this process, *lineage*."""

    def __init__(self, *, store: Store, clock: Clock, lineage: Lineage) -> None:
        self._store = store
        self._clock = clock
        self._lineage = lineage

    async def find(self, held: Credential | None) -> Leftover:
        """Return the case.

        A file that is written in place can be torn by a death. Then the successor that
        was being written stands for it, if it belongs to the pinned account. In front of
        any other torn file, *held* stands for it.

        Raises:
            LoginRequired: there is a record, and the store holds nothing.
            StoreUnavailable: a place cannot be read now.
        """
        entries = await self._store.journal.read()
        if not entries:
            return Leftover(Case.NOTHING_OPEN)
        try:
            stored = await self._store.load()
        except LoginRequired as absence:
            if absence.reason != "unreadable":
                raise
            written = await self._written_when_torn(entries)
            if written is not None and written.renewed is not None:
                stored = written.renewed
                entries = [replace(written, stored=stored.fingerprint)]
            elif held is not None:
                stored = held
            else:
                raise
        with_spool = [await self._with_spooled(stored, entry) for entry in entries]
        return classify(
            stored,
            with_spool,
            is_spent=self._lineage.was_spent_here,
            is_rotated=self._lineage.is_spent,
        )

    async def _written_when_torn(
        self, entries: Sequence[JournalEntry]
    ) -> JournalEntry | None:
        """Return the record whose successor was being written when the file was torn."""
        if not await self._store.is_written_in_place():
            return None
        pinned = (await self._store.read_state()).account
        for entry in entries:
            if entry.renewed is None:
                continue
            if pinned is None or pinned.accepts(Account.of(entry.renewed)):
                return entry
        return None

    async def _with_spooled(
        self, stored: Credential, entry: JournalEntry
    ) -> JournalEntry:
        """Return *entry* with the response that had arrived when its writer died.

        If another file is in the store's place by now, the presented credential is not
        known. A response that names its account by itself is kept all the same.
        """
        if entry.spending is None:
            return entry
        body = await self._store.journal.read_response(entry.spending)
        if body is None:
            return entry
        try:
            grant = interpret(HTTPStatus.OK, {}, body)
        except AuthorityFailure:
            return entry  # it had not arrived whole
        presented = entry.renewed or stored
        if presented.fingerprint != entry.spending:
            if grant.access_token is None or grant.refresh_token is None:
                return entry
            presented = NOTHING_KNOWN
        successor = grant.applied_to(presented, self._clock.now())
        return replace(entry, spending=None, renewed=successor)
