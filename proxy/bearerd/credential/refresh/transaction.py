"""A refresh token that was presented, and its successor that is not stored yet.

A rotating refresh token is good once. Between the moment it is presented and the moment
its successor is in the store, the login exists in one process and on the wire. Logins
are lost in that interval, so each step is recorded before it is taken:

    begin    the journal names the token that is about to be presented
    (the authority is called; the spool receives its response byte by byte)
    commit   the successor goes into the journal, then into the store
    abort    nothing came of the call, and nothing will

A process can die between any two steps. The next holder of the lock calls `recover`,
which compares four places: the store, the journal, the spool and this process's memory.
`classify` names the case, and `recover` acts on it:

| case | store | journal and spool | memory | action |
|---|---|---|---|---|
| 1 `NOTHING_OPEN` | any | no record | any | none |
| 2 `SUPERSEDED` | not what the record began from | any record | any | clear the record |
| 3 `CONTINUED_HERE` | what it began from | a record | has gone on from it | none |
| 4 `SUCCESSOR_FOUND` | what it began from | a successor | not beyond it | store it |
| 5 `MAYBE_SPENT` | what it began from | a token, no response | not beyond it | report it |

Case 4 can also be case 5: a successor that could not be stored was presented in its
turn. It is stored first; then its own token is reported as maybe spent.

docs/never-lose-a-login.md says which of these steps is proved by which test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus

from bearerd.clock import Clock
from bearerd.credential.authority.refresh_grant import AuthorityFailure, interpret
from bearerd.credential.store.journal import JournalEntry, Presenter
from bearerd.credential.store.state import Account
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError

SPENT_REMEMBERED = 64
"""Fingerprints of rotated tokens that are remembered; a restored backup holds one."""


@dataclass(frozen=True, slots=True)
class RefreshAttempt:
    """The credentials of one refresh.

    *stored* is what the store holds, read under the lock. *presented* is the credential
    whose refresh token is sent. They differ only while *presented* could not be stored.
    """

    stored: Credential
    presented: Credential

    @property
    def unsaved(self) -> Credential | None:
        """*presented*, if the store does not hold it."""
        return None if self.presented == self.stored else self.presented


@dataclass(frozen=True, slots=True)
class Pending:
    """A successor that lives in memory only. *base* is what the store holds."""

    base: Credential
    successor: Credential


class Case(Enum):
    """What a process that died, or a store that failed, has left; see the module."""

    NOTHING_OPEN = 1
    SUPERSEDED = 2
    CONTINUED_HERE = 3
    SUCCESSOR_FOUND = 4
    MAYBE_SPENT = 5


@dataclass(frozen=True, slots=True)
class Leftover:
    """The case, with the record and the store's credential that it is about."""

    case: Case
    stored: Credential | None = None
    entry: JournalEntry | None = None


@dataclass(frozen=True, slots=True)
class RecoveryResult:
    """What `RefreshTransaction.recover` found.

    *is_maybe_spent*: the authority may have acted on a token whose response is lost. The
    same token should be presented once more, soon, while a grace period may still
    accept it. *unsaved* is a successor that was found and cannot be stored; *error* is
    the reason.
    """

    is_maybe_spent: bool = False
    unsaved: Credential | None = None
    error: StoreError | None = None


def classify(
    stored: Credential,
    entry: JournalEntry | None,
    *,
    is_spent: Callable[[Credential | str | None], bool],
) -> Leftover:
    """Return the case of *entry*, a record that has the spool's response in it.

    *entry* is None when no record began from *stored*. *is_spent* tells whether this
    process has rotated a credential, or a fingerprint, away.
    """
    if entry is None:
        case = Case.SUPERSEDED
    elif is_spent(entry.spending) or is_spent(entry.renewed):
        case = Case.CONTINUED_HERE
    elif entry.renewed is not None and _follows(entry.renewed, stored):
        case = Case.SUCCESSOR_FOUND
    elif entry.spending == stored.fingerprint:
        case = Case.MAYBE_SPENT
    else:
        case = Case.SUPERSEDED
    return Leftover(case, stored, entry)


class RefreshTransaction:
    """Owns what is not stored yet, and which tokens this process has rotated away.

    Every method but the predicates is called under the store's lock.
    """

    def __init__(self, *, store: Store, clock: Clock, presenter: Presenter) -> None:
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._pending: Pending | None = None
        self._spent: deque[str] = deque(maxlen=SPENT_REMEMBERED)

    @property
    def has_unsaved(self) -> bool:
        """True while the newest credential lives in memory only."""
        return self._pending is not None

    def is_spent(self, token: Credential | str | None) -> bool:
        """Return True if this process has rotated *token* (or its fingerprint) away."""
        name = token.fingerprint if isinstance(token, Credential) else token
        return name in self._spent

    def is_superseded(self, stored: Credential) -> bool:
        """Return True if memory holds what comes after *stored*."""
        return self._successor_of(stored) is not None or self.is_spent(stored)

    def newest(self, stored: Credential, held: Credential | None) -> Credential:
        """Return the credential to go on from: *stored*, unless memory is ahead of it."""
        successor = self._successor_of(stored)
        if successor is not None:
            return successor
        return held if held is not None and self.is_spent(stored) else stored

    def drop_superseded(self, stored: Credential) -> None:
        """Forget what is unsaved if the store holds something else by now: it wins."""
        if self._successor_of(stored) is None and not self.is_spent(stored):
            self._pending = None

    def keep_over_stale(self, stored: Credential, held: Credential) -> None:
        """Record that the store went back to *stored*, and that *held* follows it."""
        if self._pending is None:
            self._pending = Pending(stored, held)

    async def begin(self, attempt: RefreshAttempt) -> bool:
        """Record that a token is about to be presented; return False if that failed."""
        return await self._write(
            self._entry(
                attempt.stored,
                spending=attempt.presented.fingerprint,
                renewed=attempt.unsaved,
            )
        )

    async def commit(
        self, attempt: RefreshAttempt, successor: Credential
    ) -> Credential | None:
        """Keep *successor*; return None, or the credential that won over it.

        It is in the journal before it is in the store, and in memory until the store
        has it.

        Raises:
            StoreError: the store cannot be written; `retry_save` tries again.
            LoginRequired: the login was signed out meanwhile.
        """
        if successor.refresh_token != attempt.presented.refresh_token:
            self._spent.append(attempt.presented.fingerprint)
        await self._write(self._entry(attempt.stored, spending=None, renewed=successor))
        self._pending = Pending(attempt.stored, successor)
        try:
            winner = await self._store.replace(attempt.stored, successor)
        except LoginRequired:
            # It stays in memory: the same file may come back.
            await self._store.journal.clear()
            raise
        self._pending = None
        await self._store.journal.clear()
        return winner

    async def abort(self, attempt: RefreshAttempt) -> None:
        """Record that nothing came of the call, and that nothing will.

        The record stays while it holds the only copy of an unsaved credential.
        """
        if attempt.unsaved is None:
            await self._store.journal.clear()

    async def recover(self) -> RecoveryResult:
        """Finish what a process that died has left open.

        It is called before each refresh too, while something is unsaved here: another
        process may have read that in the journal, and have gone on from it.

        Raises:
            LoginRequired: there is a record, and the store holds nothing.
        """
        leftover = await self._find_leftover()
        match leftover.case:
            case Case.NOTHING_OPEN | Case.CONTINUED_HERE:  # 1, 3
                return RecoveryResult()
            case Case.SUPERSEDED:  # 2
                await self._store.journal.clear()
                return RecoveryResult()
            case Case.SUCCESSOR_FOUND:  # 4
                return await self._store_successor(leftover)
            case Case.MAYBE_SPENT:  # 5
                return RecoveryResult(is_maybe_spent=True)

    async def retry_save(self) -> bool:
        """Try again to store what lives in memory only; return True if it is stored.

        A store that changed meanwhile wins: then what was unsaved is dropped.

        Raises:
            StoreError: it still cannot be written.
        """
        if not self.has_unsaved:
            return True
        is_stored = False
        with suppress(LoginRequired):  # signed out
            await self.recover()
            pending = self._pending
            if pending is None:
                return True  # another process has gone on from it, and stored that
            winner = await self._store.replace(pending.base, pending.successor)
            is_stored = winner is None
        await self._store.journal.clear()
        self._pending = None
        return is_stored

    async def _find_leftover(self) -> Leftover:
        """Read the four places, and return the case.

        A file that is written in place can be torn by a death. Then the successor that
        was being written stands for it, if it belongs to the pinned account.
        """
        entries = self._store.journal.read()
        if not entries:
            return Leftover(Case.NOTHING_OPEN)
        entry: JournalEntry | None
        try:
            stored = await self._store.load()
            own = (one for one in entries if one.stored == stored.fingerprint)
            entry = next(own, None)
        except LoginRequired as absence:
            if absence.reason != "unreadable" or not self._store.is_written_in_place:
                raise
            entry = self._written_when_torn(entries)
            if entry is None or entry.renewed is None:
                raise
            stored = entry.renewed
        if entry is not None:
            entry = self._with_spooled(stored, entry)
        return classify(stored, entry, is_spent=self.is_spent)

    def _written_when_torn(self, entries: list[JournalEntry]) -> JournalEntry | None:
        """Return the record whose successor was being written when the file was torn."""
        account = self._store.read_state().account or Account()
        for entry in entries:
            if entry.renewed and account.accepts(Account.of(entry.renewed)):
                return entry
        return None

    def _with_spooled(self, stored: Credential, entry: JournalEntry) -> JournalEntry:
        """Return *entry* with the response that had arrived when its writer died."""
        if entry.spending is None:
            return entry
        body = self._store.journal.spool.read(entry.spending)
        presented = entry.renewed or stored
        if body is None or presented.fingerprint != entry.spending:
            return entry
        try:
            grant = interpret(HTTPStatus.OK, {}, body)
        except AuthorityFailure:
            return entry  # it had not arrived whole
        if grant.names_another_account(presented):
            return entry
        successor = grant.applied_to(presented, self._clock.now())
        return replace(entry, spending=None, renewed=successor)

    async def _store_successor(self, leftover: Leftover) -> RecoveryResult:
        """Store the successor of case 4, or hold it in memory."""
        stored, entry = leftover.stored, leftover.entry
        assert stored is not None  # noqa: S101 - case 4 has both
        assert entry is not None  # noqa: S101
        assert entry.renewed is not None  # noqa: S101
        try:
            await self._store.replace(stored, entry.renewed)
        except StoreError as error:
            self._pending = Pending(stored, entry.renewed)
            if stored.fingerprint != entry.renewed.fingerprint:
                self._spent.append(stored.fingerprint)
            return RecoveryResult(unsaved=entry.renewed, error=error)
        self._pending = None
        if entry.spending is None:
            await self._store.journal.clear()
            return RecoveryResult()
        # 4 and 5: the record is now about the successor's own token.
        await self._write(replace(entry, stored=entry.spending, renewed=None))
        return RecoveryResult(is_maybe_spent=True)

    def _successor_of(self, stored: Credential) -> Credential | None:
        pending = self._pending
        if pending is None or pending.base != stored:
            return None
        return pending.successor

    def _entry(
        self, stored: Credential, *, spending: str | None, renewed: Credential | None
    ) -> JournalEntry:
        return JournalEntry(
            stored=stored.fingerprint,
            spending=spending,
            since=self._clock.now(),
            presenter=self._presenter,
            renewed=renewed,
        )

    async def _write(self, entry: JournalEntry) -> bool:
        try:
            await self._store.journal.write(entry)
        except StoreError:
            return False
        return True


def _follows(successor: Credential, stored: Credential) -> bool:
    """Return True if *successor* may replace *stored*, from which it was made.

    An authority that does not rotate leaves the refresh token as it was; then the
    access token that lasts longer is the newer.
    """
    if not Account.of(stored).accepts(Account.of(successor)):
        return False
    if successor.fingerprint != stored.fingerprint:
        return True
    return (successor.expires_at or 0) >= (stored.expires_at or 0)
