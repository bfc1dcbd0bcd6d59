"""What the tests of this room use in place of the authority and of other programs.

Every made-up token contains `MARK`, so that a leaked one is found wherever it is.
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
from bearerd.credential.refresh.limiter import RefreshLimiter
from bearerd.credential.refresh.limits import TokenEndpoint
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.auth_file import AuthFile
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import this_process
from bearerd.credential.store.store import Store
from bearerd.credential.token import AUTH_CLAIM, Credential
from bearerd.events import Event, Observer
from tests.support.clock import ManualClock

MARK = "canary0f2b"
START = 1_800_000_000.0
ENDPOINT = TokenEndpoint("https://authority.test/oauth/token", "app_test")
HOUR = 3600.0
PATIENCE_SECONDS = 5.0
"""How long a test waits for what must happen; a run that goes well never takes as long."""

Document = dict[str, Any]
EventT = TypeVar("EventT")


def encoded(part: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def jwt(claims: object) -> str:
    """Return an unsigned token with this payload."""
    head, payload = (
        encoded(json.dumps(part).encode()) for part in ({"alg": "none"}, claims)
    )
    return f"{head}.{payload}.{MARK}"


def identity(account: str | None, user: str | None) -> Document:
    """Return the namespaced claim that names an account and a user."""
    names = {"chatgpt_account_id": account, "chatgpt_user_id": user}
    return {AUTH_CLAIM: {key: value for key, value in names.items() if value}}


def access_token(serial: str, *, expires_at: float | None, **claims: Any) -> str:
    """Return an access token that differs from others by *serial*."""
    ends = {} if expires_at is None else {"exp": int(expires_at)}
    return jwt({"jti": serial, **ends, **claims})


class StandInAuthority:
    """An authority in this process, whose refresh tokens are good once.

    `script` holds what the next calls get: a grant, an exception, or None for an
    ordinary rotation. While `gate` is clear, a call waits there after it was counted.
    `lifetime_seconds` and `ahead_seconds` shape the tokens: how long they live, and how
    far the authority's clock is ahead of ours.
    """

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.calls: list[str] = []
        self.reused = 0
        self.script: deque[Grant | BaseException | None] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.before_response: Callable[[], Awaitable[None] | None] = lambda: None
        self.lifetime_seconds = 10 * 24 * HOUR
        self.ahead_seconds = 0.0
        self.account: str | None = "acct-1"
        self.user: str | None = "user-1"
        self._spent: set[str] = set()

    async def refresh(self, refresh_token: str) -> Grant:
        """Spend *refresh_token* and rotate it, or do what the script holds."""
        self.calls.append(refresh_token)
        self.arrived.set()
        await self.gate.wait()
        self.arrived.clear()
        waiting = self.before_response()
        if waiting is not None:
            await waiting
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
        """Spend *refresh_token* and return the grant that follows it."""
        self._spent.add(refresh_token)
        now = self._clock.now() + self.ahead_seconds
        serial = f"{MARK}-{len(self._spent)}"
        who = identity(self.account, self.user)
        return Grant(
            access_token=access_token(
                serial, expires_at=now + self.lifetime_seconds, iat=int(now), **who
            ),
            refresh_token=f"{MARK}-refresh-{len(self._spent)}",
            id_token=jwt({"jti": serial, **who}),
            issued_at=now,
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

    Owns `events`, all that was announced, oldest first.
    """

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.path = folder / "auth.json"
        self.clock = clock
        self.authority = StandInAuthority(clock)
        self.events: list[Event] = []

    def write(self, document: Document) -> None:
        """Replace the file whole, as another program does."""
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
        return FileStore(self.path, clock=clock or self.clock.skipping)

    def refresher(
        self,
        *,
        store: Store | None = None,
        authority: Authority | None = None,
        clock: Clock | None = None,
        bucket: TokenBucket | None = None,
        lock_timeout_seconds: float = 45.0,
        on_lock_acquired: Callable[[float], None] = lambda _: None,
    ) -> Refresher:
        """Return what refreshes the login in the file."""
        clock = clock or self.clock.skipping
        store = store or self.store(clock)
        return Refresher(
            store=store,
            authority=authority or self.authority,
            limiter=RefreshLimiter(
                store=store,
                bucket=bucket or TokenBucket(5, 30.0),
                clock=clock,
                jitter=lambda: 0.0,
                endpoint=ENDPOINT,
            ),
            clock=clock,
            lock_timeout_seconds=lock_timeout_seconds,
            on_lock_acquired=on_lock_acquired,
            presenter=this_process(),
        )

    def source(
        self,
        *,
        store: Store | None = None,
        authority: Authority | None = None,
        clock: Clock | None = None,
        bucket: TokenBucket | None = None,
        lock_timeout_seconds: float = 45.0,
        wait_timeout_seconds: float = 30.0,
        observe: Observer | None = None,
    ) -> CredentialSource:
        """Return a source on the file, with parts of its own, as another process has it."""
        clock = clock or self.clock.skipping
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
            wait_timeout_seconds=wait_timeout_seconds,
        )

    def events_of(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of one kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]


class MountedAuthFile(AuthFile):
    """A file that was mounted by itself, which no rename can replace."""

    @property
    def is_mount_point(self) -> bool:
        """Return True."""
        return True


async def sleep_briefly(_seconds: float) -> None:
    """Sleep for a real millisecond, however long the sleep should be."""
    await asyncio.sleep(0.001)


async def soon(awaitable: Awaitable[EventT]) -> EventT:
    """Return the result of *awaitable*; fail instead of hanging."""
    return await asyncio.wait_for(awaitable, PATIENCE_SECONDS)


async def wait_until(claim: Callable[[], bool]) -> None:
    """Run the loop until *claim* holds; fail instead of hanging."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not claim():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def full_disk() -> Iterator[None]:
    """Make each write of this process to a file fail inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def credential_for(
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
