"""A model of several owners of one login, which hypothesis tries to break.

Store, journal, lock and refresh are the real ones, on a real file. What hypothesis
chooses is who does what next, what goes wrong at the authority or at the disk, and at
which step a process dies. A death is an exception that no code of ours catches; what
the process held in memory is thrown away with it, and its lock is let go, as the kernel
does.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Grant
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import Journal, JournalEntry
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.errors import BearerdError, LoginRequired, StoreError
from tests.chaos.scale import chosen
from tests.credential.stand_ins import HOUR, Home, access_token, identity, login
from tests.support.clock import ManualClock

OWNERS = 3
MOST_STEPS = 14
"""More than one refresh has."""

ACCOUNT, STRANGER = "acct-1", "acct-2"

FAILURES = (
    "none",
    "undelivered",
    "unclear_unspent",
    "other_account",
    "no_refresh_token",
)


class Died(BaseException):
    """The process was killed; nobody in it hears of that."""


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
    """What is outside of all processes: who has which token, and what the disk does."""

    number: int = 0
    live: str = ""
    spent: set[str] = field(default_factory=set)
    lost: bool = False
    presenting: int = 0
    disk_fails: bool = False
    failure: str = "none"
    order: dict[str, int] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    clock: ManualClock = field(default_factory=ManualClock)

    def mint(self) -> Grant:
        """Rotate: the next refresh token lives, and the last is spent."""
        self.spent.add(self.live)
        self.number += 1
        self.live = f"refresh-{self.number}"
        who = identity(ACCOUNT, "user-1")
        token = access_token(
            str(self.number), expires_at=self.clock.now() + 24 * HOUR, **who
        )
        self.order[token] = self.number
        return Grant(token, self.live, None)


class StrictAuthority:
    """One authority for all. A spent token that is presented is the end of the family."""

    def __init__(self, world: World, fate: Fate) -> None:
        self._world = world
        self._fate = fate

    async def refresh(self, refresh_token: str) -> Grant:
        """Spend *refresh_token*, or do what goes wrong instead."""
        world = self._world
        world.presenting += 1
        assert world.presenting == 1, "two live spends at once"
        try:
            await asyncio.sleep(0)
            return self._answer(refresh_token)
        finally:
            world.presenting -= 1

    def _answer(self, refresh_token: str) -> Grant:
        world, failure = self._world, self._world.failure
        self._fate.step()  # dead before the authority has acted
        if failure == "undelivered":
            raise AuthorityFailure("undelivered", "no_route")
        if failure == "unclear_unspent":
            raise AuthorityFailure("unclear", "http_503")
        if failure == "other_account":
            token = access_token("x", expires_at=None, **identity(STRANGER, "user-2"))
            world.foreign.add(token)
            return Grant(token, "refresh-of-a-stranger", None)
        assert refresh_token not in world.spent, "a token was spent twice"
        assert refresh_token == world.live, "a token of nobody"
        grant = world.mint()
        if failure == "no_refresh_token":
            world.live, world.number = refresh_token, world.number
            world.spent.discard(refresh_token)
            return Grant(grant.access_token, None, None)
        return grant


class MortalJournal(Journal):
    """A journal whose process may die around each write, and whose disk may fail."""

    def __init__(self, place: Path, world: World, fate: Fate) -> None:
        super().__init__([place])
        self._world = world
        self._fate = fate

    async def write(self, entry: JournalEntry) -> Path:
        """Write. A response's death before it is the window; that is not modelled."""
        if entry.spending is not None:
            self._fate.step()
        # Nor is a disk that fails for the journal as well, and a death on top of it.
        place = await super().write(entry)
        self._fate.step()
        return place

    async def clear(self) -> None:
        """Clear, between two steps."""
        self._fate.step()
        await super().clear()
        self._fate.step()


class MortalStore(FileStore):
    """A store whose process may die at each step, and whose disk may fail."""

    def __init__(self, path: Path, clock: Clock, world: World, fate: Fate) -> None:
        super().__init__(path, clock=clock)
        self._world = world
        self._fate = fate
        rescue = path.with_name("rescue.json")
        self.journal = MortalJournal(rescue, world, fate)

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

    def write_state(self, state: StoreState) -> None:
        """Write; then a step."""
        super().write_state(state)
        self._fate.step()

    async def replace(
        self, began_from: Credential, renewed: Credential
    ) -> Credential | None:
        """Replace, between two steps, if the disk takes it."""
        self._fate.step()
        if self._world.disk_fails:
            raise StoreError("no space left, in this model")
        winner = await super().replace(began_from, renewed)
        self._fate.step()
        return winner


@dataclass
class Account:
    """A process: a source, its fate, and the newest generation that it published."""

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
        self.owners: list[Account] = []

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    @initialize()
    def sign_in_first(self) -> None:
        """A person has signed in; the owners start."""
        self._write_login()
        self.owners = [self._started() for _ in range(OWNERS)]

    @rule(
        who=st.integers(0, OWNERS - 1),
        failure=st.sampled_from(FAILURES),
        dies=st.none() | st.integers(0, MOST_STEPS),
    )
    def meet_a_401(self, who: int, failure: str, dies: int | None) -> None:
        """An owner is refused, and recovers, or dies on the way and starts anew."""
        account = self.owners[who]
        self.world.failure, account.fate.steps = failure, dies
        self._run(who, self._recover(account))

    @rule(
        first=st.integers(0, OWNERS - 1),
        second=st.integers(0, OWNERS - 1),
        dies=st.none() | st.integers(0, MOST_STEPS),
    )
    def two_meet_a_401(self, first: int, second: int, dies: int | None) -> None:
        """Two at once, one of which may die."""
        self.world.failure = "none"
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
        account = self.owners[who]
        account.fate.steps = None
        self._run(who, self._looked(account))

    @rule(who=st.integers(0, OWNERS - 1))
    def restart(self, who: int) -> None:
        """An owner ends in order, and starts anew."""
        self.owners[who].fate.steps = None
        self._run(who, self.owners[who].source.close())
        self.owners[who] = self._started()

    @rule(fails=st.booleans())
    def disk(self, fails: bool) -> None:
        """The disk takes no login any more, or takes one again."""
        self.world.disk_fails = fails

    @rule()
    def sign_in_anew(self) -> None:
        """A person signs in again, over whatever is there; the account is the same."""
        self._write_login()

    @rule(seconds=st.floats(1.0, 4000.0))
    def time_passes(self, seconds: float) -> None:
        """Backoffs end, and the budget fills up."""
        self.world.clock.advance(seconds)

    @invariant()
    def a_working_login_is_never_given_up(self) -> None:
        """Whoever asks for a sign-in has none, and could read none."""
        for account in self.owners:
            assert account.source.status().state != "login_required"

    def _write_login(self) -> None:
        """Sign in: a new family, and the tokens of the old one are worth nothing."""
        document: dict[str, Any] = login("x", account=ACCOUNT)
        grant = self.world.mint()
        document["tokens"] |= {
            "access_token": grant.access_token,
            "refresh_token": grant.refresh_token,
        }
        # As `bearerd login` does: under the lock, and with the record cleared.
        self.home.write(json.loads(json.dumps(document)))
        self.folder.joinpath("rescue.json").unlink(missing_ok=True)

    def _started(self) -> Account:
        fate = Fate()
        clock = self.world.clock.skipping
        source = self.home.source(
            store=MortalStore(self.home.path, clock, self.world, fate),
            authority=StrictAuthority(self.world, fate),
            clock=clock,
        )
        account = Account(source, fate)
        self.world.failure = "none"
        self.loop.run_until_complete(self._start(account))
        return account

    async def _start(self, account: Account) -> None:
        await account.source.start()
        await account.source._single_flight.wait_idle()
        self._published(account)

    async def _recover(self, account: Account) -> None:
        """Do what a request does that was refused."""
        source = account.source
        try:
            held = await source.current()
            found = await source.reload(held) or await source.refresh(held, "refused")
            assert found.access_token not in self.world.foreign
        except LoginRequired:
            raise
        except BearerdError:
            pass  # throttled, or not reached: the login is kept
        self._published(account)

    async def _looked(self, account: Account) -> None:
        await account.source.reload_if_changed()
        await account.source.retry_save()
        self._published(account)

    def _published(self, account: Account) -> None:
        """Note what an owner serves; it is ours, and never older than before."""
        held = account.source._cached.credential
        assert held is not None
        assert held.account_id == ACCOUNT
        number = self.world.order[held.access_token]
        assert number >= account.newest, "an older credential was published"
        account.newest = number

    def _run(self, who: int, work: Any) -> None:
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
