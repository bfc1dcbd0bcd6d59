"""The credential file: read whole, written over what is known, locked by processes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.store.auth_file import AuthFile, Snapshot
from bearerd.credential.store.file_store import (
    TORN_READ_TRIES,
    TORN_READ_WAIT_SECONDS,
    FileStore,
)
from bearerd.credential.store.install import lock_held_message
from bearerd.credential.store.state import Account, BucketLevel, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError, StoreUnavailable
from bearerd.files.flock import flock
from tests.credential.processes import (
    ENTER_AND_LEAVE,
    HOLD_THE_LOCK,
    REFRESH_ONCE,
    ROOT,
    process,
    read_line,
    send_line,
)
from tests.credential.stand_ins import (
    MARK,
    PATIENCE_SECONDS,
    Document,
    Home,
    credential_for,
    full_disk,
    login,
    names_in,
    refresh_token_of,
    soon,
    wait_until,
)
from tests.support.clock import ManualClock


async def absence(store: FileStore) -> LoginRequired:
    """Return why a login is required."""
    with pytest.raises(LoginRequired) as why:
        await store.load()
    assert MARK not in repr(why.value)
    assert "`bearerd login`" in why.value.message
    assert store.name in why.value.message
    return why.value


async def unavailable(awaitable: Awaitable[object]) -> StoreUnavailable:
    """Return why the store is unavailable."""
    with pytest.raises(StoreUnavailable) as why:
        await soon(awaitable)
    assert "bearerd login" not in why.value.message
    return why.value


class Writer:
    """A foreign writer: does one thing to the file at each sleep of the reader."""

    def __init__(self, clock: ManualClock, *actions: Callable[[], object]) -> None:
        self._clock = clock
        self._actions = list(actions)
        self.sleeps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        if self._actions:
            self._actions.pop(0)()
        self._clock.advance(seconds)
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return self._clock.with_sleep(self.sleep)


# Reading.


async def test_a_login_is_loaded(home: Home) -> None:
    """And remembered as seen."""
    home.write(login())
    store = home.store()
    assert await store.has_changed()
    credential = await store.load()
    assert credential.refresh_token == refresh_token_of("first")
    assert not await store.has_changed()


@pytest.mark.parametrize(
    "tear",
    [lambda path: path.write_bytes(b'{"tok'), lambda path: path.unlink()],
    ids=["truncated", "unlinked"],
)
async def test_a_torn_write_is_waited_for(
    home: Home, tear: Callable[[Path], object]
) -> None:
    """A foreign writer may have truncated the file, and not written it yet."""
    home.write(login())
    writer = Writer(
        home.clock, lambda: None, lambda: home.path.write_text(json.dumps(login("new")))
    )
    store = home.store(writer.clock)
    await store.load()
    tear(home.path)
    assert (await store.load()).refresh_token == refresh_token_of("new")
    assert writer.sleeps == [TORN_READ_WAIT_SECONDS] * 2


async def test_a_write_that_is_never_finished_is_waited_for_once(home: Home) -> None:
    """For a quarter of a second; then the file counts as torn until it changes."""
    home.write(login())
    writer = Writer(home.clock)
    store = home.store(writer.clock)
    await store.load()
    home.path.write_bytes(b'{"tokens"')
    assert (await absence(store)).reason == "unreadable"
    assert len(writer.sleeps) == TORN_READ_TRIES - 1
    assert not await store.has_changed()


async def test_a_cancelled_reader_remembers_nothing_torn(
    home: Home, clock: ManualClock
) -> None:
    """The next read sees what is in the file then."""
    home.write(login())
    store = home.store(clock.clock)
    await store.load()
    home.path.write_bytes(b"{")
    reading = asyncio.create_task(store.load())
    await clock.wait_for_sleepers(1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    home.write(login("new"))
    assert await store.has_changed()
    assert (await store.load()).refresh_token == refresh_token_of("new")


@pytest.mark.parametrize(
    "change",
    [
        lambda home: home.write(login("second")),
        lambda home: home.path.write_text(json.dumps(login("second"))),
        lambda home: home.path.unlink(),
        lambda home: home.store()._file.write_state(
            StoreState(account=Account("acct-9"))
        ),
    ],
    ids=["replaced", "written-in-place", "removed", "state-of-another-process"],
)
async def test_a_change_by_others_is_seen(
    home: Home, change: Callable[[Home], object]
) -> None:
    """Of the file, and of the state beside it."""
    home.write(login())
    store = home.store()
    await store.load()
    assert not await store.has_changed()
    change(home)
    assert await store.has_changed()


async def test_a_file_that_never_held_a_login_is_not_waited_for(home: Home) -> None:
    """Only what was whole before can be torn, or between two writes, now."""
    home.path.write_bytes(b"{")
    began = home.clock.monotonic()
    assert (await absence(home.store())).reason == "unreadable"
    assert home.clock.monotonic() == began


async def test_an_unavailable_file_is_not_waited_for(home: Home) -> None:
    """A folder with its name is not a write in progress; after its removal the store works."""
    home.write(login())
    store = home.store()
    await store.load()
    home.path.unlink()
    home.path.mkdir()
    began = home.clock.monotonic()
    assert str(home.path) in (await unavailable(store.load())).message
    assert home.clock.monotonic() == began
    home.path.rmdir()
    home.write(login("new"))
    assert (await store.load()).refresh_token == refresh_token_of("new")


async def test_foreign_writes_are_counted_and_own_ones_are_not(home: Home) -> None:
    """A file that was touched, or written again as it was, counts too."""
    home.write(login())
    store = home.store()
    base = await store.load()
    await store.replace(base, credential_for("second"))
    await store.load()
    assert store.foreign_writes == 0, "nor is the first read"
    os.utime(home.path)
    await store.load()
    assert store.foreign_writes == 1


async def test_a_sign_in_and_a_sign_out_count_as_foreign_writes(home: Home) -> None:
    """A source on the same store then reads the new login."""
    home.write(login())
    store = home.store()
    await store.load()
    await store.replace_login(login("new"))
    assert await store.has_changed()
    assert (await store.load()).refresh_token == refresh_token_of("new")
    assert store.foreign_writes == 1
    await store.remove_login()
    assert await store.has_changed()
    with pytest.raises(LoginRequired):
        await store.load()
    assert store.foreign_writes == 2


# A file system that hangs.


class HangingFile(AuthFile):
    """A file on a mount that does not respond until it is released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.release = threading.Event()
        self.calls = 0

    def read(self) -> Snapshot:
        """Hang, then read."""
        self.calls += 1
        assert self.release.wait(2 * PATIENCE_SECONDS)
        return super().read()


async def test_a_mount_that_hangs_is_unavailable_and_the_loop_runs_on(
    home: Home,
) -> None:
    """After the deadline; later reads fail at once, and no thread piles up behind it."""
    home.write(login())
    store = FileStore(home.path, clock=home.clock.skipping, read_timeout_seconds=0.05)
    store._file = file = HangingFile(home.path)
    reading = asyncio.create_task(store.load())
    await asyncio.sleep(0)
    assert not reading.done()
    assert "does not respond" in (await unavailable(reading)).message
    for _ in range(20):
        await unavailable(store.load())
        await unavailable(store.read_state())
        await unavailable(store.journal.read())
        await unavailable(store.quarantine.read("new_login"))
        await unavailable(enter(store))
    assert await store.has_changed()
    assert file.calls == 1
    file.release.set()
    await wait_until(store._reader._thread._abandoned.done)  # type: ignore[union-attr]
    store._file = AuthFile(home.path)
    assert (await store.load()).refresh_token == refresh_token_of("first")


# Writing.


async def test_a_successor_is_written_and_is_no_change_for_its_writer(
    home: Home,
) -> None:
    """The file is private, unknown fields are kept, and it reads back as it was meant."""
    home.write(login() | {"agent_identity": "kept"})
    store = home.store()
    base = await store.load()
    assert await store.replace(base, credential_for("second")) is None
    assert not await store.has_changed()
    assert home.read()["agent_identity"] == "kept"
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o600
    assert await home.store().load() == credential_for("second")


async def test_a_torn_file_is_written_over(home: Home) -> None:
    """It is no sign-out, and holds nothing that could be lost."""
    home.write(login() | {"agent_identity": "kept"})
    store = home.store()
    base = await store.load()
    home.path.write_bytes(b"{")
    assert await store.replace(base, credential_for("second")) is None
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert home.read()["agent_identity"] == "kept"


@pytest.mark.parametrize(
    "other",
    [
        login("newer"),
        login("first", account="acct-2"),
        login("newer", account="acct-2", user="user-2"),
    ],
    ids=["newer-login", "other-account", "other-user"],
)
async def test_a_login_that_another_writer_has_stored_is_not_overwritten(
    home: Home, other: Document
) -> None:
    """A late response overwrites no login."""
    home.write(login())
    store = home.store()
    base = await store.load()
    home.write(other)
    before = home.path.read_bytes()
    conflicting = await store.replace(base, credential_for("second"))
    assert conflicting is not None
    assert conflicting.account_id == other["tokens"]["account_id"]
    assert conflicting.access_token == other["tokens"]["access_token"]
    assert home.path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text('{"OPENAI_API_KEY": "sk-made-up"}'), "no_login"),
    ],
    ids=["removed", "an-api-key"],
)
async def test_a_sign_out_is_not_undone(
    home: Home, change: Callable[[Path], object], reason: str
) -> None:
    """Nor is a login of another kind written over."""
    home.write(login())
    store = home.store()
    base = await store.load()
    change(home.path)
    before = home.path.read_bytes() if home.path.exists() else None
    with pytest.raises(LoginRequired) as why:
        await store.replace(base, credential_for("second"))
    assert why.value.reason == reason
    assert (home.path.read_bytes() if home.path.exists() else None) == before


async def test_a_full_disk_leaves_the_file_as_it_was(home: Home) -> None:
    """The message names the file, the reason and the remedy."""
    home.write(login())
    store = home.store()
    base = await store.load()
    with full_disk(), pytest.raises(StoreError) as why:
        await store.replace(base, credential_for("second"))
    assert str(home.path) in why.value.message
    assert "make its folder writable" in why.value.message
    assert await home.store().load() == base
    expected = ["auth.json", "auth.json.lock", "auth.lock"]
    assert names_in(home.path.parent) == expected
    assert await store.replace(base, credential_for("second")) is None


async def test_a_lock_that_codex_does_not_release_is_an_error_with_its_name(
    home: Home,
) -> None:
    """The successor is held in memory then, and saved later."""
    home.write(login())
    store = home.store()
    base = await store.load()
    async with flock(home.path.with_name("auth.lock"), home.clock.skipping, 0):
        with pytest.raises(StoreError, match=r"auth\.lock"):
            await store.replace(base, credential_for("second"))
    assert home.stored_refresh_token() == refresh_token_of("first")


async def test_a_link_stays_a_link(tmp_path: Path, clock: ManualClock) -> None:
    """It was made on purpose: the file shall lie elsewhere."""
    (tmp_path / "vault").mkdir()
    target, link = tmp_path / "vault" / "login", tmp_path / "auth.json"
    target.write_text(json.dumps(login()))
    link.symlink_to(target)
    store = FileStore(link, clock=clock.skipping)
    assert await store.replace(await store.load(), credential_for("second")) is None
    assert link.is_symlink()
    assert await FileStore(target, clock=clock.skipping).load() == credential_for(
        "second"
    )


# The state.


async def test_the_state_lies_beside_the_file_and_is_private(home: Home) -> None:
    """All stores on the file share it; there is none at first."""
    store = home.store()
    assert await store.read_state() == StoreState()
    state = StoreState(account=Account("acct-1", "user-1"), level=BucketLevel(2.0, 7.0))
    await store.write_state(state)
    assert await home.store().read_state() == state
    assert not await store.has_changed()
    path = home.path.with_name("auth.json.bearerd-state")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    path.mkdir()
    assert "bearerd-state" in (await unavailable(store.read_state())).message


async def test_a_state_that_cannot_be_written_is_an_error(home: Home) -> None:
    """The caller decides whether that matters."""
    with full_disk(), pytest.raises(StoreError, match="bearerd-state"):
        await home.store().write_state(StoreState(account=Account("acct-1")))


# The lock.


async def test_the_lock_lies_beside_the_target_and_stays(home: Home) -> None:
    """Its inode never changes, held or free, even if the credential file does."""
    home.write(login())
    store, path = home.store(), home.path.with_name("auth.json.bearerd-lock")
    async with store.lock(0):
        inode = path.stat().st_ino
    await store.replace(await store.load(), credential_for("second"))
    async with home.store().lock(0):
        assert path.stat().st_ino == inode
    assert path.stat().st_ino == inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_two_links_to_one_file_share_one_lock(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Else two daemons would present one token twice."""
    target = tmp_path / "vault" / "login"
    target.parent.mkdir()
    target.write_text(json.dumps(login()))
    links = [tmp_path / "one.json", tmp_path / "two.json"]
    for link in links:
        link.symlink_to(target)
    stores = [FileStore(path, clock=clock.skipping) for path in (*links, target)]
    for holder in stores:
        async with holder.lock(0):
            for other in stores:
                with pytest.raises(TimeoutError):
                    async with other.lock(0):
                        raise AssertionError("both hold it")
    for store in stores:
        await store.write_state(StoreState(account=Account(store.name)))
        assert {(await other.read_state()) for other in stores} == {
            (await store.read_state())
        }


async def test_a_place_without_room_for_a_lock_is_an_error(
    tmp_path: Path, clock: ManualClock
) -> None:
    """It names the remedy, and is no reason to sign in."""
    (tmp_path / "data").write_bytes(b"no folder")
    store = FileStore(tmp_path / "data" / "auth.json", clock=clock.skipping)
    assert "another path" in (await unavailable(enter(store))).message


async def enter(store: FileStore) -> None:
    """Take the lock, which cannot be had."""
    async with store.lock(0):
        raise AssertionError("there is no lock to hold")


async def test_processes_never_overlap_under_the_lock(home: Home) -> None:
    """Each logs when it enters and leaves: none enters before another has left."""
    record = home.path.with_name("record")
    async with (
        process(ENTER_AND_LEAVE, home.path, record, "40") as one,
        process(ENTER_AND_LEAVE, home.path, record, "40") as two,
    ):
        for running in (one, two):
            assert await read_line(running) == "ready"
        for running in (one, two):
            await send_line(running, "go")
        for running in (one, two):
            assert await asyncio.wait_for(running.wait(), 30) == 0
    lines = [line.split() for line in record.read_text().splitlines()]
    assert len(lines) == 160
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert (entered[0], entered[1], left[1]) == (left[0], "in", "out")


async def test_the_lock_of_a_process_that_was_killed_is_free_at_once(
    home: Home,
) -> None:
    """SIGKILL leaves it no time to clean up; the kernel releases the lock."""
    store = home.store(Clock())
    async with process(HOLD_THE_LOCK, home.path) as holder:
        assert await read_line(holder) == "held"
        inode = home.path.with_name("auth.json.bearerd-lock").stat().st_ino
        with pytest.raises(TimeoutError):
            async with store.lock(0):
                raise AssertionError("both hold it")
        holder.kill()
        await holder.wait()
        async with store.lock(0):
            pass
    assert home.path.with_name("auth.json.bearerd-lock").stat().st_ino == inode


async def test_a_waiter_gets_the_lock_that_another_process_releases(
    home: Home,
) -> None:
    """At its next attempt."""
    store = home.store(Clock())
    async with process(HOLD_THE_LOCK, home.path) as holder:
        assert await read_line(holder) == "held"

        async def acquire() -> str:
            async with store.lock(10):
                return "acquired"

        waiting = asyncio.create_task(acquire())
        await send_line(holder, "release")
        assert await soon(waiting) == "acquired"


async def test_the_holder_of_the_lock_is_known_by_name(home: Home) -> None:
    """Process, host and since when, for a message that a person can act on."""
    store = home.store(Clock())
    assert await store.lock_holder() is None
    async with process(HOLD_THE_LOCK, home.path) as holder:
        assert await read_line(holder) == "held"
        found = await store.lock_holder()
        assert found is not None
        assert (found.pid, found.host) == (holder.pid, socket.gethostname())
        message = await lock_held_message(store)
    assert (
        f"process {holder.pid} on {socket.gethostname()} has held the lock" in message
    )
    assert "since 20" in message


async def test_two_late_responses_do_not_overwrite_each_other(home: Home) -> None:
    """The second finds that the first is stored."""
    home.write(login())
    one, two = home.store(), home.store()
    base = await one.load()
    assert await two.load() == base
    assert await one.replace(base, credential_for("second")) is None
    conflicting = await two.replace(base, credential_for("third"))
    assert conflicting == credential_for("second")
    assert isinstance(conflicting, Credential)


@pytest.mark.parametrize("is_read_only", [False, True], ids=["folder", "read-only"])
def test_a_file_that_is_mounted_by_itself_is_written_in_place(
    home: Home, is_read_only: bool
) -> None:
    """As in a container: no rename can replace it, and it is its own lock, since each
    container has another folder around it.
    """
    home.write(login())
    mounted = home.path.with_name("mounted")
    mounted.mkdir()
    (mounted / "auth.json").touch()
    inode = home.path.stat().st_ino
    steps = ['mount --bind "$1" "$1"']
    if is_read_only:
        steps.append('mount -o remount,ro,bind "$1"')
    steps += ['mount --bind "$2" "$1/auth.json"', "shift 2", 'exec "$@"']
    unshare = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounts cannot be made here")
    shell = ["sh", "-ec", "; ".join(steps), "sh", str(mounted), str(home.path)]
    refresh = [sys.executable, "-c", REFRESH_ONCE, str(mounted / "auth.json")]
    command = [*unshare, *shell, *refresh, f"{MARK}-next"]
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("won\n", 0), done.stderr[-900:]
    assert home.stored_refresh_token() == f"{MARK}-next"
    assert home.path.stat().st_ino == inode
