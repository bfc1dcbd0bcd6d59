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
| 6 `WAITING` | another account's login | a successor | any | keep the record |
| 7 `FOREIGN_GRANT` | what it began from | a grant for another account | any | quarantine |

Case 4 can also be case 5: a successor that could not be stored was presented in its
turn. It is stored first; then its own token is reported as maybe spent.

Case 6: another account's file replaced the store's while a refresh was under way. The
record holds the only copy of the old login, whose file may be put back.

Case 7: the presented token is spent, and what came for it belongs to another account. It
is never served and never destroyed; `bearerd adopt` can take it up.

docs/never-lose-a-login.md says which of these steps is proved by which test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import interpret
from bearerd.credential.store.install import replace_whole
from bearerd.credential.store.journal import JournalEntry, Presenter
from bearerd.credential.store.quarantine import Kept
from bearerd.credential.store.state import SPENT_LIMIT, Account, StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError


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
    WAITING = 6
    FOREIGN_GRANT = 7


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
    entries: Sequence[JournalEntry],
    *,
    is_spent: Callable[[Credential | str | None], bool],
) -> Leftover:
    """Return the case of *entries*, the records, which have the spool's response in them.

    *is_spent* tells whether this process itself rotated a credential, or a fingerprint,
    away. That another process did is no reason for case 3: it may have died since.
    """
    if not entries:
        return Leftover(Case.NOTHING_OPEN, stored)
    own = (one for one in entries if one.stored == stored.fingerprint)
    entry = next(own, None)
    if entry is None:
        return _without_base(stored, entries)
    if is_spent(entry.spending) or is_spent(entry.renewed):
        case = Case.CONTINUED_HERE
    elif entry.renewed is not None and not _may_become(stored, entry.renewed):
        case = Case.FOREIGN_GRANT
    elif entry.renewed is not None and _is_newer(entry.renewed, stored):
        case = Case.SUCCESSOR_FOUND
    elif entry.spending == stored.fingerprint:
        case = Case.MAYBE_SPENT
    else:
        case = Case.SUPERSEDED
    return Leftover(case, stored, entry)


def _without_base(stored: Credential, entries: Sequence[JournalEntry]) -> Leftover:
    """Return case 6 if a record has the only copy of another account's login, or 2."""
    for entry in entries:
        if entry.renewed is not None and not _may_become(stored, entry.renewed):
            return Leftover(Case.WAITING, stored, entry)
    return Leftover(Case.SUPERSEDED, stored)


class RefreshTransaction:
    """Owns what is not stored yet, and which tokens were rotated away.

    The fingerprints of spent tokens are shared by the store's state: `sync` takes them
    over, and the limiter writes them. Every method but the predicates and `sync` is
    called under the store's lock.
    """

    def __init__(self, *, store: Store, clock: Clock, presenter: Presenter) -> None:
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._pending: Pending | None = None
        self._spent: deque[str] = deque(maxlen=SPENT_LIMIT)  # by this process
        self._shared_spent: frozenset[str] = frozenset()

    @property
    def has_unsaved(self) -> bool:
        """True while the newest credential lives in memory only."""
        return self._pending is not None

    def is_spent(self, credential: Credential) -> bool:
        """Return True if any process is known to have rotated *credential* away."""
        return self._was_spent_here(credential) or (
            credential.fingerprint in self._shared_spent
        )

    def is_superseded(self, stored: Credential) -> bool:
        """Return True if memory holds what comes after *stored*."""
        return self._successor_of(stored) is not None or self.is_spent(stored)

    def newest(self, stored: Credential, held: Credential | None) -> Credential:
        """Return the credential to go on from: *stored*, unless memory is ahead of it."""
        successor = self._successor_of(stored)
        if successor is not None:
            return successor
        return held if held is not None and self.is_spent(stored) else stored

    def sync(self, state: StoreState) -> None:
        """Take over the fingerprints of the tokens that any process has spent."""
        self._shared_spent = frozenset(state.spent)

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
        if winner is not None and not _may_become(winner, successor):
            return winner  # 6: journal and memory keep the successor
        self._pending = None
        await self._store.journal.clear()
        return winner

    async def quarantine(self, attempt: RefreshAttempt, grant: Credential) -> None:
        """Keep a grant for another account, whose price was the presented token.

        Raises:
            StoreError: it could not be kept anywhere; the journal still has it.
        """
        self._spent.append(attempt.presented.fingerprint)
        await self._write(self._entry(attempt.stored, spending=None, renewed=grant))
        await self._quarantine(attempt.presented.fingerprint, grant)

    async def abort(self, attempt: RefreshAttempt) -> None:
        """Record that nothing came of the call, and that nothing will.

        The record stays while it holds the only copy of an unsaved credential.
        """
        if attempt.unsaved is None:
            await self._store.journal.clear()

    async def recover(self, held: Credential | None = None) -> RecoveryResult:
        """Finish what a process that died has left open.

        It is called before each refresh too, while something is unsaved here: another
        process may have read that in the journal, and have gone on from it. *held* stands
        for what the store holds while its file is torn.

        Raises:
            LoginRequired: there is a record, and the store holds nothing.
            StoreUnavailable: the store cannot be read.
        """
        await self._install_new_login()
        leftover = await self._find_leftover(held)
        match leftover.case:
            case Case.NOTHING_OPEN | Case.CONTINUED_HERE | Case.WAITING:  # 1, 3, 6
                return RecoveryResult()
            case Case.SUPERSEDED:  # 2
                await self._store.journal.clear()
                return RecoveryResult()
            case Case.SUCCESSOR_FOUND:  # 4
                return await self._store_successor(leftover)
            case Case.MAYBE_SPENT:  # 5
                return RecoveryResult(is_maybe_spent=True)
            case Case.FOREIGN_GRANT:  # 7
                return await self._quarantine_leftover(leftover)

    async def adopt(self) -> Credential:
        """Return the credential that a person chose by `bearerd adopt`, stored.

        It is what the store holds. If the token in there was spent on a grant for another
        account, it is that grant. A response that waits for another account's file
        (case 6) goes into the quarantine, since the next refresh needs the journal.

        Raises:
            LoginRequired: the store holds no login.
            StoreError: the grant could not be stored.
        """
        stored = await self._store.load()
        kept = await self._store.quarantine.read("foreign")
        leftover = await self._find_leftover(None)
        if leftover.case is Case.WAITING and leftover.entry is not None:
            await self._quarantine_leftover(leftover)
        self._pending = None
        if kept is None or kept.presented != stored.fingerprint:
            return stored
        await self._store.replace(stored, kept.credential)
        await self._store.quarantine.clear("foreign")
        return kept.credential

    async def retry_save(self) -> bool:
        """Try again to store what lives in memory only; return True if it is stored.

        A login that was stored meanwhile wins: then what was unsaved is dropped. A
        sign-out wins too. While another account's login is stored, it is kept.

        Raises:
            StoreError, StoreUnavailable: it still cannot be written.
        """
        if not self.has_unsaved:
            return True
        try:
            await self.recover(self._pending.base if self._pending else None)
            pending = self._pending
            if pending is None:
                return True  # another process has gone on from it, and stored that
            winner = await self._store.replace(pending.base, pending.successor)
        except LoginRequired:  # signed out
            winner, pending = None, None
        if winner and pending and not _may_become(winner, pending.successor):
            return False  # 6
        await self._store.journal.clear()
        self._pending = None
        return winner is None and pending is not None

    async def _install_new_login(self) -> None:
        """Store the login of a person that found the store locked or not writable."""
        kept = await self._store.quarantine.read("new_login")
        if kept is None:
            return
        with suppress(StoreError):  # it stays in quarantine
            await replace_whole(self._store, kept.credential, self._clock.now())
            self._pending = None

    async def _find_leftover(self, held: Credential | None) -> Leftover:
        """Read the four places, and return the case.

        A file that is written in place can be torn by a death. Then the successor that
        was being written stands for it, if it belongs to the pinned account. In front of
        any other torn file, *held* stands for it.
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
        return classify(stored, with_spool, is_spent=self._was_spent_here)

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
        """Return *entry* with the response that had arrived when its writer died."""
        if entry.spending is None:
            return entry
        presented = entry.renewed or stored
        if presented.fingerprint != entry.spending:
            return entry
        body = await self._store.journal.read_response(entry.spending)
        if body is None:
            return entry
        try:
            grant = interpret(HTTPStatus.OK, {}, body)
        except AuthorityFailure:
            return entry  # it had not arrived whole
        successor = grant.applied_to(presented, self._clock.now())
        return replace(entry, spending=None, renewed=successor)

    async def _quarantine_leftover(self, leftover: Leftover) -> RecoveryResult:
        entry = leftover.entry
        assert entry is not None  # noqa: S101 - case 7 has one
        assert entry.renewed is not None  # noqa: S101
        if leftover.case is Case.FOREIGN_GRANT:
            self._spent.append(entry.stored)
        with suppress(StoreError):  # then the journal keeps it
            await self._quarantine(entry.stored, entry.renewed)
        return RecoveryResult()

    async def _quarantine(self, presented: str, grant: Credential) -> None:
        kept = Kept(grant, presented=presented, since=self._clock.now())
        await self._store.quarantine.keep("foreign", kept)
        await self._store.journal.clear()

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

    def _was_spent_here(self, token: Credential | str | None) -> bool:
        name = token.fingerprint if isinstance(token, Credential) else token
        return name in self._spent

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


def _may_become(stored: Credential, successor: Credential) -> bool:
    """Return True if a refresh of *stored* may name the account of *successor*."""
    return Account.of(stored).accepts(Account.of(successor))


def _is_newer(successor: Credential, stored: Credential) -> bool:
    """Return True if *successor* may replace *stored*, from which it was made.

    An authority that does not rotate leaves the refresh token as it was; then the
    access token that lasts longer is the newer.
    """
    if successor.fingerprint != stored.fingerprint:
        return True
    return (successor.expires_at or 0) >= (stored.expires_at or 0)
