"""What the tests of this room put in the place of time, the authority and a person.

Every made-up token carries `MARK`, so that one that leaks is found wherever it went.
"""

from __future__ import annotations

import asyncio
import base64
import json
import resource
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Authority, Grant
from bearerd.credential.cached import CachedCredential
from bearerd.credential.refresh.backoff import Backoff
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import Presenter
from bearerd.credential.store.store import Store
from bearerd.credential.token import AUTH_CLAIM, Credential
from bearerd.events import Event, Observer

MARK = "canary0f2b"
START = 1_800_000_000.0
HOUR = 3600.0
PATIENCE_SECONDS = 5.0
"""How long a test waits for what must come; nothing that goes well takes this long."""

Document = dict[str, Any]
EventT = TypeVar("EventT")


def encoded(part: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def jwt(claims: object) -> str:
    """Return a token with this payload, that nobody signed."""
    head, payload = (
        encoded(json.dumps(part).encode()) for part in ({"alg": "none"}, claims)
    )
    return f"{head}.{payload}.{MARK}"


def identity(account: str | None, user: str | None) -> Document:
    """Return the namespaced claim that names an account and a person."""
    names = {"chatgpt_account_id": account, "chatgpt_user_id": user}
    return {AUTH_CLAIM: {key: value for key, value in names.items() if value}}


def access_token(serial: str, *, expires_at: float | None, **claims: Any) -> str:
    """Return an access token that differs from others by *serial*."""
    ends = {} if expires_at is None else {"exp": int(expires_at)}
    return jwt({"jti": serial, **ends, **claims})


class Hands:
    """The hands of a clock, which only a test moves. Owns who sleeps, and until when."""

    def __init__(self) -> None:
        self.wall = START
        self.steady = 1_000.0
        self._sleeping: list[tuple[float, asyncio.Future[None]]] = []

    def clock(self, sleep: Callable[[float], Awaitable[None]] | None = None) -> Clock:
        """Return a clock with these hands. Unless told otherwise, sleeping moves them."""
        return Clock(
            now=lambda: self.wall,
            monotonic=lambda: self.steady,
            sleep=sleep or self.pass_over,
        )

    async def pass_over(self, seconds: float) -> None:
        """Sleep by moving the hands at once."""
        self.move(seconds)
        await asyncio.sleep(0)

    async def doze(self, seconds: float) -> None:
        """Sleep until a test has moved the hands far enough."""
        future = asyncio.get_running_loop().create_future()
        self._sleeping.append((self.steady + seconds, future))
        await future

    @property
    def sleepers(self) -> int:
        """Count who sleeps now."""
        return sum(1 for _, future in self._sleeping if not future.done())

    def move(self, seconds: float, *, wall_seconds: float | None = None) -> None:
        """Let time pass, on the wall perhaps more or less of it; wake who is due."""
        self.steady += seconds
        self.wall += seconds if wall_seconds is None else wall_seconds
        for until, future in self._sleeping:
            if until <= self.steady and not future.done():
                future.set_result(None)
        self._sleeping = [pair for pair in self._sleeping if not pair[1].done()]


class StandInAuthority:
    """An authority in this process, whose refresh tokens are good once.

    `script` holds what the next calls get: a grant, an exception, or None for an
    ordinary rotation. While `gate` is clear, a call waits there after it was counted.
    `lifetime_seconds` and `ahead_seconds` shape the tokens: how long they live, and how
    far the authority's clock runs ahead of ours.
    """

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self.calls: list[str] = []
        self.reused = 0
        self.script: deque[Grant | BaseException | None] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.before_response: Callable[[], None] = lambda: None
        self.lifetime_seconds = 10 * 24 * HOUR
        self.ahead_seconds = 0.0
        self.account: str | None = "acct-1"
        self.user: str | None = "user-1"
        self._spent: set[str] = set()

    async def refresh(self, refresh_token: str) -> Grant:
        """Spend *refresh_token* and rotate it, or do what the script says."""
        self.calls.append(refresh_token)
        self.arrived.set()
        await self.gate.wait()
        self.arrived.clear()
        self.before_response()
        scripted = self.script.popleft() if self.script else None
        if isinstance(scripted, BaseException):
            raise scripted
        if scripted is not None:
            return scripted
        if refresh_token in self._spent:
            self.reused += 1
            raise AuthorityFailure("refused", "reused")
        return self.rotated(refresh_token)

    def rotated(self, refresh_token: str) -> Grant:
        """Spend *refresh_token* and return what comes after it."""
        self._spent.add(refresh_token)
        now = self._hands.wall + self.ahead_seconds
        serial = f"{MARK}-{len(self._spent)}"
        who = identity(self.account, self.user)
        return Grant(
            access_token=access_token(
                serial, expires_at=now + self.lifetime_seconds, iat=int(now), **who
            ),
            refresh_token=f"{MARK}-refresh-{len(self._spent)}",
            id_token=jwt({"jti": serial, **who}),
        )


def login(
    serial: str = "first",
    *,
    account: str | None = "acct-1",
    user: str | None = "user-1",
    expires_at: float | None = START + 24 * HOUR,
    last_refresh: str = "2027-01-15T08:00:00.000000001Z",
) -> Document:
    """Return a login as Codex's `auth.json` has it."""
    who = identity(account, user)
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": jwt({"sub": serial, **who}),
            "access_token": access_token(serial, expires_at=expires_at),
            "refresh_token": f"{MARK}-refresh-{serial}",
            "account_id": account,
        },
        "last_refresh": last_refresh,
    }


def refresh_token_of(serial: str) -> str:
    """Return the refresh token that `login(serial)` holds."""
    return f"{MARK}-refresh-{serial}"


class Home:
    """A folder with one `auth.json`, an authority, and sources on them.

    Owns what has been announced: `events`, oldest first.
    """

    def __init__(self, folder: Path, hands: Hands) -> None:
        self.path = folder / "auth.json"
        self.hands = hands
        self.authority = StandInAuthority(hands)
        self.events: list[Event] = []

    def write(self, document: Document) -> None:
        """Put a file there, as a foreign program that replaces it whole."""
        fresh = self.path.with_name("auth.json.new")
        fresh.write_text(json.dumps(document))
        fresh.replace(self.path)

    def read(self) -> Document:
        """Return what the file holds."""
        document = json.loads(self.path.read_bytes())
        assert isinstance(document, dict)
        return document

    def stored_refresh_token(self) -> object:
        """Return the refresh token in the file."""
        return self.read()["tokens"]["refresh_token"]

    def store(self, clock: Clock | None = None) -> FileStore:
        """Return a store on the file."""
        return FileStore(self.path, clock=clock or self.hands.clock())

    def refresher(
        self,
        *,
        store: Store | None = None,
        authority: Authority | None = None,
        clock: Clock | None = None,
        bucket: TokenBucket | None = None,
        lock_timeout_seconds: float = 45.0,
        waited: Callable[[float], None] = lambda _: None,
    ) -> Refresher:
        """Return what refreshes the login in the file."""
        clock = clock or self.hands.clock()
        return Refresher(
            store=store or self.store(clock),
            authority=authority or self.authority,
            bucket=bucket or TokenBucket(5, 30.0),
            backoff=Backoff(clock=clock, jitter=lambda: 0.0),
            clock=clock,
            lock_timeout_seconds=lock_timeout_seconds,
            waited=waited,
            presenter=Presenter.this_process(),
        )

    def source(
        self,
        *,
        store: Store | None = None,
        authority: Authority | None = None,
        clock: Clock | None = None,
        bucket: TokenBucket | None = None,
        lock_timeout_seconds: float = 45.0,
        observe: Observer | None = None,
    ) -> CredentialSource:
        """Return another process's source on the same file, as it were."""
        clock = clock or self.hands.clock()
        store = store or self.store(clock)
        return CredentialSource(
            profile="default",
            store=store,
            refresher=self.refresher(
                store=store,
                authority=authority,
                clock=clock,
                bucket=bucket,
                lock_timeout_seconds=lock_timeout_seconds,
            ),
            cached=CachedCredential(
                window_seconds=300.0, clock=clock, jitter=lambda: 0.0
            ),
            clock=clock,
            observe=observe or self.events.append,
        )

    def told(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of one kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]


async def blink(_seconds: float) -> None:
    """Sleep for hardly any time at all, whatever was asked for."""
    await asyncio.sleep(0.001)


async def soon(awaitable: Awaitable[EventT]) -> EventT:
    """Return what must come soon; fail instead of hanging."""
    return await asyncio.wait_for(awaitable, PATIENCE_SECONDS)


async def wait_until(claim: Callable[[], bool]) -> None:
    """Let the loop turn until *claim* holds; fail instead of hanging."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not claim():  # noqa: ASYNC110 - what it waits for rings no bell
            await asyncio.sleep(0)


def names_in(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow inside the block: writes fail for real."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def held(
    serial: str = "first",
    *,
    account: str | None = "acct-1",
    user: str | None = "user-1",
    expires_at: float | None = START + 24 * HOUR,
) -> Credential:
    """Return the credential of `login(serial)`, without a file."""
    return Credential(
        access_token=access_token(serial, expires_at=expires_at),
        refresh_token=refresh_token_of(serial),
        account_id=account,
        user_id=user,
        expires_at=expires_at,
    )
