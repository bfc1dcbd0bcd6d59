"""The credential file: read whole, written under guard, locked across processes."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.store.auth_file import FILE_LIMIT_BYTES
from bearerd.credential.store.file_store import (
    TORN_READ_TRIES,
    TORN_READ_WAIT_SECONDS,
    FileStore,
)
from bearerd.credential.store.state import Account, BucketLevel, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError
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
    Document,
    Home,
    full_disk,
    held,
    login,
    names_in,
    refresh_token_of,
    soon,
)
from tests.support.clock import ManualClock


async def absence(store: FileStore) -> LoginRequired:
    """Return why nothing can be loaded."""
    with pytest.raises(LoginRequired) as why:
        await store.load()
    assert MARK not in repr(why.value)
    assert "`bearerd login`" in why.value.message
    assert store.name in why.value.message
    return why.value


class Writer:
    """A foreign writer: does something to the file at each sleep of the reader."""

    def __init__(self, clock: ManualClock, *deeds: Callable[[], object]) -> None:
        self._hands = clock
        self._deeds = list(deeds)
        self.sleeps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        if self._deeds:
            self._deeds.pop(0)()
        self._hands.advance(seconds)
        await asyncio.sleep(0)

    def clock(self) -> Clock:
        return self._hands.clock(self.sleep)


# Reading.


async def test_a_login_is_loaded(home: Home) -> None:
    """And the store is seen as it is now."""
    home.write(login())
    store = home.store()
    assert await store.has_changed()
    credential = await store.load()
    assert credential.refresh_token == refresh_token_of("first")
    assert not await store.has_changed()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not valid JSON"),
        (b'{"tokens": {', "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'{"OPENAI_API_KEY": "sk-made-up"}', "no ChatGPT tokens"),
        (b"[" * 100_000, "not valid JSON"),
        (b" " * (FILE_LIMIT_BYTES + 1) + b"{}", "not valid JSON"),
    ],
    ids=["empty", "torn", "list", "api-key", "nested-without-end", "too-large"],
)
async def test_a_file_that_holds_no_login_is_unreadable(
    home: Home, content: bytes, why: str
) -> None:
    """One look is enough when nothing whole was there before."""
    home.path.write_bytes(content)
    began = home.clock.monotonic()
    problem = await absence(home.store())
    assert (problem.reason, why in problem.message) == ("unreadable", True)
    assert home.clock.monotonic() == began


async def test_no_file_and_no_folder_are_missing(
    tmp_path: Path, clock: ManualClock
) -> None:
    """A start without a login is an ordinary one."""
    for path in (tmp_path / "auth.json", tmp_path / "deep" / "er" / "auth.json"):
        problem = await absence(FileStore(path, clock=clock.skipping))
        assert problem.reason == "missing"


async def test_what_cannot_be_opened_is_unreadable(
    tmp_path: Path, clock: ManualClock
) -> None:
    """A folder in its place; the system's reason is told."""
    (tmp_path / "auth.json").mkdir()
    problem = await absence(FileStore(tmp_path / "auth.json", clock=clock.skipping))
    assert problem.reason == "unreadable"
    assert "directory" in problem.message


async def test_links_that_go_in_a_circle_are_unreadable(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Told as one problem among others, and nothing crashes on it."""
    path = tmp_path / "auth.json"
    path.symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(path)
    store = FileStore(path, clock=clock.skipping)
    problem = await absence(store)
    assert problem.reason == "unreadable"
    assert await store.has_changed() in (True, False)


@pytest.mark.parametrize(
    "tear",
    [lambda path: path.write_bytes(b'{"tok'), lambda path: path.unlink()],
    ids=["truncated", "unlinked"],
)
async def test_a_torn_write_is_waited_for(
    home: Home, tear: Callable[[Path], object]
) -> None:
    """A foreign writer may be between truncating and writing."""
    home.write(login())
    writer = Writer(
        home.clock, lambda: None, lambda: home.path.write_text(json.dumps(login("new")))
    )
    store = home.store(writer.clock())
    await store.load()
    tear(home.path)
    assert (await store.load()).refresh_token == refresh_token_of("new")
    assert writer.sleeps == [TORN_READ_WAIT_SECONDS] * 2


async def test_a_write_that_is_never_finished_is_given_up(home: Home) -> None:
    """After a quarter of a second."""
    home.write(login())
    writer = Writer(home.clock)
    store = home.store(writer.clock())
    await store.load()
    home.path.write_bytes(b'{"tokens"')
    assert (await absence(store)).reason == "unreadable"
    assert len(writer.sleeps) == TORN_READ_TRIES - 1
    assert not await store.has_changed(), "it would be read again and again"


async def test_a_reader_that_is_cancelled_while_it_waits_reads_again_later(
    home: Home, clock: ManualClock
) -> None:
    """Nothing half-seen is kept."""
    home.write(login())
    store = home.store(clock.clock)
    await store.load()
    home.path.write_bytes(b"{")
    reading = asyncio.create_task(store.load())
    await asyncio.sleep(0)
    assert clock.sleepers == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    home.write(login("new"))
    assert await store.has_changed()
    assert (await store.load()).refresh_token == refresh_token_of("new")


@pytest.mark.parametrize(
    "deed",
    [
        lambda home: home.write(login("second")),
        lambda home: home.path.write_text(json.dumps(login("second"))),
        lambda home: home.path.unlink(),
        lambda home: home.store()._file.write_state(
            StoreState(account=Account("acct-9"))
        ),
    ],
    ids=["replaced", "written-in-place", "removed", "notes-of-another-process"],
)
async def test_a_change_by_others_is_seen(
    home: Home, deed: Callable[[Home], object]
) -> None:
    """Of the file and of the notes beside it."""
    home.write(login())
    store = home.store()
    await store.load()
    assert not await store.has_changed()
    deed(home)
    assert await store.has_changed()


# Writing.


async def test_a_renewed_login_is_written_and_is_no_news_to_us(home: Home) -> None:
    """Private, with what we do not know kept, and read back as it was meant."""
    home.write(login() | {"agent_identity": "kept"})
    store = home.store()
    began_from = await store.load()
    assert await store.replace(began_from, held("second")) is None
    assert not await store.has_changed()
    assert home.read()["agent_identity"] == "kept"
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o600
    assert await home.store().load() == held("second")


async def test_a_new_file_can_be_written_where_there_was_a_broken_one(
    home: Home,
) -> None:
    """Broken is not signed out: the response to our refresh mends it."""
    home.write(login() | {"agent_identity": "kept"})
    store = home.store()
    began_from = await store.load()
    home.path.write_bytes(b"{")
    assert await store.replace(began_from, held("second")) is None
    assert home.stored_refresh_token() == refresh_token_of("second")
    assert home.read()["agent_identity"] == "kept"


@pytest.mark.parametrize(
    "other",
    [
        login("newer"),
        login("first", account="acct-2"),
        login("newer", account="acct-2", user="user-2"),
    ],
    ids=["newer-login", "other-account", "other-person"],
)
async def test_what_others_stored_meanwhile_wins(home: Home, other: Document) -> None:
    """A late response overwrites no login."""
    home.write(login())
    store = home.store()
    began_from = await store.load()
    home.write(other)
    before = home.path.read_bytes()
    winner = await store.replace(began_from, held("second"))
    assert winner is not None
    assert winner.account_id == other["tokens"]["account_id"]
    assert winner.access_token == other["tokens"]["access_token"]
    assert home.path.read_bytes() == before


async def test_a_logout_is_not_undone(home: Home) -> None:
    """The file stays away."""
    home.write(login())
    store = home.store()
    began_from = await store.load()
    home.path.unlink()
    with pytest.raises(LoginRequired) as why:
        await store.replace(began_from, held("second"))
    assert why.value.reason == "missing"
    assert not home.path.exists()


async def test_a_full_disk_leaves_the_file_as_it_was(home: Home) -> None:
    """One line names the file, the reason and the remedy."""
    home.write(login())
    store = home.store()
    began_from = await store.load()
    with full_disk(), pytest.raises(StoreError) as why:
        await store.replace(began_from, held("second"))
    assert str(home.path) in why.value.message
    assert "make its folder writable" in why.value.message
    assert await home.store().load() == began_from
    ours = {"auth.json", "auth.json.lock", "auth.lock"}
    assert set(names_in(home.path.parent)) == ours, "a temporary file is left"
    assert await store.replace(began_from, held("second")) is None


async def test_a_codex_that_does_not_let_go_is_an_error_with_a_name(home: Home) -> None:
    """The new login is then held in memory, and saved later."""
    home.write(login())
    store = home.store()
    began_from = await store.load()
    async with flock(home.path.with_name("auth.lock"), home.clock.skipping, 0):
        with pytest.raises(StoreError, match=r"auth\.lock"):
            await store.replace(began_from, held("second"))
    assert home.stored_refresh_token() == refresh_token_of("first")


async def test_a_link_stays_a_link(tmp_path: Path, clock: ManualClock) -> None:
    """Whoever put it there wants the file to live elsewhere."""
    (tmp_path / "vault").mkdir()
    target, link = tmp_path / "vault" / "login", tmp_path / "auth.json"
    target.write_text(json.dumps(login()))
    link.symlink_to(target)
    store = FileStore(link, clock=clock.skipping)
    assert await store.replace(await store.load(), held("second")) is None
    assert link.is_symlink()
    assert await FileStore(target, clock=clock.skipping).load() == held("second")


async def test_a_folder_that_vanishes_is_not_made_anew(
    tmp_path: Path, clock: ManualClock
) -> None:
    """An unmounted volume must not come back empty, which looks like a sign-out."""
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "auth.json").write_text(json.dumps(login()))
    store = FileStore(folder / "auth.json", clock=clock.skipping)
    began_from = await store.load()
    folder.rename(tmp_path / "away")
    assert (await absence(store)).reason == "unreadable"
    with pytest.raises(StoreError):
        async with store.lock(0):
            raise AssertionError("there is no folder to lock in")
    with pytest.raises(StoreError):
        await store.replace(began_from, held("second"))
    assert not folder.exists()


# Notes.


async def test_notes_are_kept_beside_the_file_and_private(home: Home) -> None:
    """Shared by all stores on the file; none at first; garbage is none."""
    store = home.store()
    assert await store.read_state() == StoreState()
    state = StoreState(account=Account("acct-1", "user-1"), level=BucketLevel(2.0, 7.0))
    await store.write_state(state)
    assert await home.store().read_state() == state
    assert not await store.has_changed()
    path = home.path.with_name("auth.json.bearerd-state")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"{")
    assert await store.read_state() == StoreState()


async def test_notes_that_cannot_be_written_are_an_error(home: Home) -> None:
    """The caller decides whether that matters."""
    with full_disk(), pytest.raises(StoreError, match="bearerd-state"):
        await home.store().write_state(StoreState(account=Account("acct-1")))


# The lock.


async def test_the_lock_lies_beside_the_target_and_stays(home: Home) -> None:
    """Its inode never changes, in use or not; a replaced file does not touch it."""
    home.write(login())
    store, path = home.store(), home.path.with_name("auth.json.bearerd-lock")
    async with store.lock(0):
        inode = path.stat().st_ino
    await store.replace(await store.load(), held("second"))
    async with home.store().lock(0):
        assert path.stat().st_ino == inode
    assert path.stat().st_ino == inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_two_links_to_one_file_share_one_lock(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Or two daemons would spend one token twice."""
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
    """With the remedy."""
    (tmp_path / "data").write_bytes(b"no folder")
    store = FileStore(tmp_path / "data" / "auth.json", clock=clock.skipping)
    with pytest.raises(StoreError, match="another place"):
        async with store.lock(0):
            raise AssertionError("there is no lock to hold")


async def test_processes_never_overlap_under_the_lock(home: Home) -> None:
    """Proved by what they wrote down: each who went in went out before the next."""
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
    """SIGKILL lets it clean up nothing; the kernel does."""
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


async def test_a_waiter_takes_over_from_a_process_that_lets_go(home: Home) -> None:
    """At its next look."""
    store = home.store(Clock())
    async with process(HOLD_THE_LOCK, home.path) as holder:
        assert await read_line(holder) == "held"

        async def take_over() -> str:
            async with store.lock(10):
                return "mine"

        waiting = asyncio.create_task(take_over())
        await send_line(holder, "let go")
        assert await soon(waiting) == "mine"


async def test_two_late_responses_do_not_overwrite_each_other(home: Home) -> None:
    """The second finds that the first has been stored."""
    home.write(login())
    one, two = home.store(), home.store()
    began_from = await one.load()
    assert await two.load() == began_from
    assert await one.replace(began_from, held("second")) is None
    winner = await two.replace(began_from, held("third"))
    assert winner == held("second")
    assert isinstance(winner, Credential)


@pytest.mark.parametrize("is_read_only", [False, True], ids=["folder", "read-only"])
def test_a_file_that_is_mounted_alone_is_written_in_place(
    home: Home, is_read_only: bool
) -> None:
    """As a container gets it: no rename can replace it, and it is its own lock where
    nothing else beside it can be written.
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
        pytest.skip("no mounts may be made here")
    shell = ["sh", "-ec", "; ".join(steps), "sh", str(mounted), str(home.path)]
    refresh = [sys.executable, "-c", REFRESH_ONCE, str(mounted / "auth.json")]
    command = [*unshare, *shell, *refresh, f"{MARK}-next"]
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("won\n", 0), done.stderr[-900:]
    assert home.stored_refresh_token() == f"{MARK}-next"
    assert home.path.stat().st_ino == inode
