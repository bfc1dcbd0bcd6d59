"""A model of several owners of one login, which hypothesis tries to break.

Store, journal, quarantine, lock and refresh are the real ones, on a real file. What
hypothesis chooses is which process does what next, what goes wrong at the authority or
at the disk, and at which step a process dies. A death is an exception that no code of
the product catches; what the process had in memory is gone with it, and its lock is
released, as the kernel does.

The authority spends the token of each call that reaches it, whatever the response is. A
grant for another account is no exception: its price is the token that was presented, so
it is then the only thing that is left of the login. It is never served, never presented
and never lost, until a person chooses it by `bearerd adopt` or signs in anew.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Grant
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.install import install_login
from bearerd.credential.store.journal import Journal
from bearerd.credential.store.journal_entry import JournalEntry
from bearerd.credential.store.quarantine import (
    Kind,
    Quarantine,
    QuarantinedCredential,
)
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.errors import AccountChanged, BearerdError, LoginRequired, StoreError
from tests.chaos.scale import chosen
from tests.credential.stand_ins import HOUR, Home, access_token, identity, jwt
from tests.support.clock import ManualClock

OWNERS = 3
STEPS_LIMIT = 18
"""More than one refresh has."""

USERS = {"acct-1": "user-1", "acct-2": "user-2"}
"""The two accounts, and the user of each."""

FAILURES = (
    "none",
    "undelivered",
    "rejected",
    "unclear_unspent",
    "other_account",
    "other_account_without_id_token",
    "other_id_token",
    "no_refresh_token",
    "no_access_token",
)

OTHER_ACCOUNT = ("other_account", "other_account_without_id_token")


def other(account: str) -> str:
    """Return the account that *account* is not."""
    (found,) = USERS.keys() - {account}
    return found


class Died(BaseException):
    """The process was killed; no code in it sees that."""


class Fate:
    """How many steps one process has left to live. Owns the count."""

    def __init__(self) -> None:
        self.steps: int | None = None

    def step(self) -> None:
        """Pass one step, or die at it."""
        if self.steps is None:
            return
        if self.steps == 0:
            raise Died
        self.steps -= 1


@dataclass
class World:
    """What is outside of all processes: which token is alive, and what the disk does.

    *pinned* is the account that the profile belongs to, *granted* that of the live token.
    They differ after a grant for another account.
    """

    number: int = 0
    live: str = ""
    pinned: str = "acct-1"
    granted: str = "acct-1"
    spent: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    presenting: int = 0
    disk_fails: bool = False
    failure: str = "none"
    order: dict[str, int] = field(default_factory=dict)
    clock: ManualClock = field(default_factory=ManualClock)

    def require(self, claim: bool, violation: str) -> None:
        """Note a *violation* unless *claim* holds.

        An error alone would not do: the product takes each one for a failed call.
        """
        if not claim:
            self.violations.append(violation)
            raise AssertionError(violation)

    @property
    def is_strangers(self) -> bool:
        """True while all that is left of the login is a grant for another account."""
        return self.granted != self.pinned

    def rotate(self, account: str, *, id_account: str | None) -> Grant:
        """Issue tokens for *account*: the last refresh token is spent."""
        self.spent.add(self.live)
        self.number += 1
        self.live, self.granted = f"refresh-{self.number}-", account
        token = access_token(
            str(self.number),
            expires_at=self.clock.now() + 24 * HOUR,
            **identity(account, USERS[account]),
        )
        self.order[token] = self.number
        id_token = None
        if id_account is not None:
            id_token = jwt(identity(id_account, USERS[id_account]))
        return Grant(token, self.live, id_token)


class StrictAuthority:
    """One authority for all. A spent token that is presented is the end of the family."""

    def __init__(self, world: World, fate: Fate) -> None:
        self._world = world
        self._fate = fate

    async def refresh(self, refresh_token: str) -> Grant:
        """Spend *refresh_token*, or do what goes wrong instead."""
        world = self._world
        world.presenting += 1
        world.require(world.presenting == 1, "two tokens are presented at once")
        try:
            await asyncio.sleep(0)
            return self._respond(refresh_token)
        finally:
            world.presenting -= 1

    def _respond(self, refresh_token: str) -> Grant:
        world, failure = self._world, self._world.failure
        self._fate.step()  # dead before the authority has acted
        world.require(refresh_token not in world.spent, "a token was presented twice")
        world.require(refresh_token == world.live, "an unknown token was presented")
        world.require(not world.is_strangers, "another account's token was presented")
        if failure == "undelivered":
            raise AuthorityFailure("undelivered", "no_route")
        if failure == "rejected":
            raise AuthorityFailure("rejected", "http_401", is_slow=True)
        if failure == "unclear_unspent":
            raise AuthorityFailure("unclear", "http_503")
        account = world.pinned
        if failure in OTHER_ACCOUNT:
            stranger = other(account)
            has_id_token = failure == "other_account"
            return world.rotate(stranger, id_account=stranger if has_id_token else None)
        if failure == "no_refresh_token":
            grant = world.rotate(account, id_account=None)
            world.spent.discard(refresh_token)
            world.live = refresh_token
            return Grant(grant.access_token, None, None)
        named = other(account) if failure == "other_id_token" else account
        grant = world.rotate(account, id_account=named)
        if failure == "no_access_token":
            return Grant(None, grant.refresh_token, None)
        return grant


class MortalJournal(Journal):
    """A journal whose process may die around each write."""

    def __init__(self, place: Path, fate: Fate) -> None:
        super().__init__([place])
        self._fate = fate

    async def write(self, entry: JournalEntry) -> Path:
        """Write, then a step. A death before a response is written is not modelled: that
        is the one window in which a login can be lost.
        """
        if entry.spending is not None:
            self._fate.step()
        place = await super().write(entry)
        self._fate.step()
        return place

    async def clear(self) -> None:
        """Clear, between two steps."""
        self._fate.step()
        await super().clear()
        self._fate.step()


class MortalQuarantine(Quarantine):
    """A quarantine whose process may die around each write."""

    def __init__(self, place: Path, fate: Fate) -> None:
        super().__init__([place])
        self._fate = fate

    async def write(self, kind: Kind, quarantined: QuarantinedCredential) -> Path:
        """Write, between two steps."""
        self._fate.step()
        place = await super().write(kind, quarantined)
        self._fate.step()
        return place

    async def clear(
        self, kind: Kind, quarantined: QuarantinedCredential | None = None
    ) -> None:
        """Clear, between two steps."""
        self._fate.step()
        await super().clear(kind, quarantined)
        self._fate.step()


class MortalStore(FileStore):
    """A store whose process may die at each step, and whose disk may fail."""

    def __init__(self, path: Path, clock: Clock, world: World, fate: Fate) -> None:
        super().__init__(path, clock=clock)
        self._world = world
        self._fate = fate
        self.journal = MortalJournal(path.with_name("rescue.json"), fate)
        self.quarantine = MortalQuarantine(path.with_name("quarantine"), fate)

    @asynccontextmanager
    async def lock(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold the lock, between two steps."""
        async with super().lock(min(timeout_seconds, 0.5)):
            self._fate.step()
            yield
        self._fate.step()

    async def load(self) -> Credential:
        """Load; then a step."""
        found = await super().load()
        self._fate.step()
        return found

    async def write_state(self, state: StoreState) -> None:
        """Write; then a step."""
        await super().write_state(state)
        self._fate.step()

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Replace, between two steps, if the disk has room for it."""
        self._fate.step()
        if self._world.disk_fails:
            raise StoreError("no space left, in this model")
        winner = await super().replace(base, successor)
        self._fate.step()
        return winner


@dataclass
class Owner:
    """A process: a source, its fate, and the newest credential that it has served."""

    source: CredentialSource
    fate: Fate
    newest: int = 0


class Owners(RuleBasedStateMachine):
    """What may happen to a login that several processes own."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World()
        self.home = Home(self.folder, self.world.clock)
        self.owners: list[Owner] = []

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.loop.close()
        shutil.rmtree(self.folder)

    @initialize()
    def sign_in_first(self) -> None:
        """A person has signed in; the owners start."""
        self._sign_in()
        self.owners = [self._started() for _ in range(OWNERS)]

    @rule(
        who=st.integers(0, OWNERS - 1),
        failure=st.sampled_from(FAILURES),
        dies=st.none() | st.integers(0, STEPS_LIMIT),
    )
    def meet_a_401(self, who: int, failure: str, dies: int | None) -> None:
        """The upstream rejects an owner, which recovers, or dies and starts anew."""
        self._begin(failure)
        self.owners[who].fate.steps = dies
        self._run(who, self._recover(self.owners[who]))

    @rule(
        first=st.integers(0, OWNERS - 1),
        second=st.integers(0, OWNERS - 1),
        failure=st.sampled_from(FAILURES),
        dies=st.none() | st.integers(0, STEPS_LIMIT),
    )
    def two_meet_a_401(
        self, first: int, second: int, failure: str, dies: int | None
    ) -> None:
        """Two at once, one of which may die."""
        self._begin(failure)
        self.owners[first].fate.steps = dies

        async def both() -> None:
            works = [self._recover(self.owners[who]) for who in {first, second}]
            for found in await asyncio.gather(*works, return_exceptions=True):
                if isinstance(found, BaseException):
                    raise found

        self._run(first, both())

    @rule(who=st.integers(0, OWNERS - 1))
    def look(self, who: int) -> None:
        """An owner looks at the store, and saves what it could not save before."""
        self._run(who, self._look(self.owners[who]))

    @rule(who=st.integers(0, OWNERS - 1))
    def restart(self, who: int) -> None:
        """An owner ends in order, and starts anew."""
        self._run(who, self.owners[who].source.close())
        self.owners[who] = self._started()

    @rule(fails=st.booleans())
    def disk(self, fails: bool) -> None:
        """The disk has no room for the login any more, or has room again."""
        self.world.disk_fails = fails

    @rule()
    def sign_in_anew(self) -> None:
        """A person signs in again to the account of the profile, whatever is there."""
        self._sign_in()

    @rule(dies=st.none() | st.integers(0, STEPS_LIMIT))
    def adopt(self, dies: int | None) -> None:
        """A person runs `bearerd adopt`, which may be killed.

        It chooses the other account if a grant for it is kept. That is no precondition:
        which of two processes comes first is up to the threads of this machine.
        """
        command = self._started()
        command.fate.steps = dies
        with suppress(Died):
            self.loop.run_until_complete(self._adopt(command))
        # Whatever came of it: what the state says is what the profile belongs to.
        store = FileStore(self.home.path, clock=self.world.clock.skipping)
        pinned = self.loop.run_until_complete(store.read_state()).account
        assert pinned is not None
        assert pinned.account_id is not None
        self.world.pinned = pinned.account_id
        if dies is None and not self.world.disk_fails:
            assert not self.world.is_strangers, "the grant could not be adopted"

    @rule(seconds=st.floats(1.0, 4000.0))
    def time_passes(self, seconds: float) -> None:
        """Pauses end, and the budget fills up."""
        self.world.clock.advance(seconds)

    @invariant()
    def the_authority_has_seen_no_violation(self) -> None:
        """Each token was presented once, by one process, and by its own account."""
        assert self.world.violations == []

    @invariant()
    def a_working_login_is_never_given_up(self) -> None:
        """No owner requires a sign-in. A person is needed for another account's grant."""
        for owner in self.owners:
            status = owner.source.status()
            assert status.code != LoginRequired.code, status.message

    @invariant()
    def the_live_token_is_in_a_file_or_in_memory(self) -> None:
        """Of the account of the profile or not: it is kept where it will be found."""
        needle = self.world.live.encode()
        files = (path for path in self.folder.rglob("*") if path.is_file())
        if any(needle in path.read_bytes() for path in files):
            return
        held = [owner.source._cached.credential for owner in self.owners]
        assert self.world.live in [one.refresh_token for one in held if one is not None]

    def _begin(self, failure: str) -> None:
        """Choose what goes wrong at the authority.

        A grant for another account that comes within the second in which a process has
        not noticed a sign-in yet is not modelled: that process takes its older login for
        the newer one, because the token of the sign-in is spent.
        """
        if failure in OTHER_ACCOUNT:
            for who, owner in enumerate(self.owners):
                self._run(who, self._look(owner))
        self.world.failure = failure

    def _sign_in(self) -> None:
        """Sign in: a new family, and the tokens of the old one are worth nothing."""
        account = self.world.pinned
        grant = self.world.rotate(account, id_account=account)
        fresh = Credential(
            access_token=grant.access_token or "",
            refresh_token=grant.refresh_token or "",
            id_token=grant.id_token,
            account_id=account,
            user_id=USERS[account],
        )
        installing = install_login(
            self._store(Fate()),
            fresh,
            clock=self.world.clock.skipping,
            lock_timeout_seconds=1.0,
        )
        assert self.loop.run_until_complete(installing).quarantine_path is None

    def _store(self, fate: Fate) -> MortalStore:
        clock = self.world.clock.skipping
        return MortalStore(self.home.path, clock, self.world, fate)

    def _started(self) -> Owner:
        fate = Fate()
        source = self.home.source(
            store=self._store(fate),
            authority=StrictAuthority(self.world, fate),
            clock=self.world.clock.skipping,
        )
        owner = Owner(source, fate)
        self.world.failure = "none"
        self.loop.run_until_complete(self._start(owner))
        return owner

    async def _start(self, owner: Owner) -> None:
        await owner.source.start()
        await owner.source.wait_idle()
        self._check_served(owner)

    async def _recover(self, owner: Owner) -> None:
        """Do what a request does that the upstream rejects once."""
        source = owner.source
        try:
            held = await source.current()
            found = await source.reload(held) or await source.refresh(held, "refused")
            source.record_acceptance(found)
        except LoginRequired:
            raise
        except AccountChanged:
            # The last call may have brought the grant, or a process that has died.
            assert self.world.is_strangers
        except BearerdError:
            pass  # throttled, or not reached: the login is kept
        self._check_served(owner)

    async def _look(self, owner: Owner) -> None:
        await owner.source.reload_if_changed()
        await owner.source.retry_save()
        self._check_served(owner)

    async def _adopt(self, command: Owner) -> None:
        try:
            await command.source.adopt()
        except StoreError:
            assert self.world.disk_fails
        await command.source.close()

    def _check_served(self, owner: Owner) -> None:
        """Check what an owner serves: no stranger's credential, and never an older one.

        While a stranger's grant is all that is left, every token of the profile's own
        account is spent, and none of them is better than another.
        """
        held = owner.source._cached.credential
        if held is None or owner.source.status().state == "blocked":
            return
        if self.world.is_strangers:
            assert held.account_id == self.world.pinned, "a stranger's token is served"
            return
        number = self.world.order[held.access_token]
        assert number >= owner.newest, "an older credential is served"
        owner.newest = number

    def _run(self, who: int, work: Coroutine[Any, Any, None]) -> None:
        """Run *work*; if its process dies, its memory goes, and another starts."""
        try:
            self.loop.run_until_complete(work)
        except Died:
            self.owners[who] = self._started()
        self.owners[who].fate.steps = None


Owners.TestCase.settings = settings(
    max_examples=chosen().model_examples,
    stateful_step_count=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

TestOwners = Owners.TestCase
