"""A store that cannot be read is no reason to sign in: the cached credential is used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bearerd.credential.store_loader import TORN_TIMEOUT_SECONDS
from bearerd.errors import LoginRequired, StoreUnavailable
from bearerd.events import (
    CredentialHeldInMemory,
    CredentialSaved,
    LoginNeeded,
    StoreTroubled,
)
from tests.credential.stand_ins import (
    HOUR,
    START,
    Home,
    full_disk,
    login,
    refresh_token_of,
    soon,
)


def tear(path: Path) -> None:
    """Leave half a document in the file."""
    path.write_bytes(b'{"auth_mode": "chatgpt", "tok')


def empty(path: Path) -> None:
    """Leave nothing in the file, as a writer on a full disk does."""
    path.write_bytes(b"")


def make_folder(path: Path) -> None:
    """Put a folder in the place of the file."""
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    """Put a FIFO in the place of the file, whose open would wait for a writer."""
    path.unlink()
    os.mkfifo(path)


def make_circle(path: Path) -> None:
    """Put a link that leads to itself in the place of the file."""
    path.unlink()
    path.symlink_to(path)


def move_folder_away(path: Path) -> None:
    """Let the folder vanish, as an unmounted volume does."""
    path.parent.rename(away(path))


def away(path: Path) -> Path:
    """Return the path to which the folder of the file was moved."""
    return path.parent.with_name(f"{path.parent.name}-away")


def restore(path: Path) -> None:
    """Undo any of them, as far as a new file needs that."""
    if away(path).exists():
        away(path).rename(path.parent)
    elif path.is_dir():
        shutil.rmtree(path)
    elif path.is_symlink():
        path.unlink()


Break = Callable[[Path], None]
TORN: list[Break] = [tear, empty]
UNAVAILABLE: list[Break] = [make_folder, make_fifo, make_circle, move_folder_away]


@pytest.mark.parametrize("break_store", TORN + UNAVAILABLE, ids=lambda it: it.__name__)
async def test_an_unreadable_store_is_degraded_and_announced_once(
    home: Home, break_store: Break
) -> None:
    """The cached credential is served, and the status shows the problem until it ends."""
    home.write(login())
    source = home.source()
    before = await source.current()
    break_store(home.path)
    for _ in range(3):
        await source.reload_if_changed()
        assert await source.current() is before
        assert await source.reload(before) is None
    (troubled,) = home.events_of(StoreTroubled)
    assert str(home.path) in troubled.reason
    status = source.status()
    code = "store_unreadable" if break_store in TORN else "store_unavailable"
    assert (status.state, status.code) == ("degraded", code)
    assert (status.message, status.needs_person) == (troubled.reason, True)
    restore(home.path)
    home.write(login())
    await source.reload_if_changed()
    assert (source.status().state, source.status().message) == ("usable", None)
    break_store(home.path)
    await source.reload_if_changed()
    assert len(home.events_of(StoreTroubled)) == 2, "it is a new trouble"
    restore(home.path)
    assert home.events_of(LoginNeeded) == []
    assert home.authority.calls == []


@pytest.mark.parametrize("break_store", TORN, ids=lambda it: it.__name__)
async def test_a_refresh_from_memory_overwrites_a_torn_file(
    home: Home, break_store: Break
) -> None:
    """A torn file contains nothing that could replace the cached credential."""
    home.write(login(expires_at=START + HOUR))
    source = home.source()
    await source.current()
    break_store(home.path)
    home.clock.advance(HOUR)
    new = await soon(source.current())
    assert home.authority.calls == [refresh_token_of("first")]
    assert home.stored_refresh_token() == new.refresh_token
    assert source.status().state == "usable"
    assert home.events_of(LoginNeeded) == []


@pytest.mark.parametrize("break_store", UNAVAILABLE, ids=lambda it: it.__name__)
async def test_a_refresh_without_a_readable_store_waits_for_it(
    home: Home, break_store: Break
) -> None:
    """It is a 503 and not a sign-in; no token is presented that could be an old one."""
    home.write(login(expires_at=START + HOUR))
    source = home.source()
    await source.current()
    break_store(home.path)
    home.clock.advance(HOUR)
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as why:
            await soon(source.current())
        assert 1 <= (why.value.retry_after_seconds or 0) <= 5
    assert (source.status().state, source.status().code) == (
        "blocked",
        "store_unavailable",
    )
    assert home.authority.calls == []
    restore(home.path)
    home.write(login(expires_at=START + HOUR))
    new = await soon(source.current())
    assert home.stored_refresh_token() == new.refresh_token
    assert source.status().state == "usable"
    assert home.events_of(LoginNeeded) == []


@pytest.mark.parametrize(
    "break_store",
    # Without a login seen in it, a missing folder is that of a missing login.
    [it for it in UNAVAILABLE if it is not move_folder_away],
    ids=lambda it: it.__name__,
)
async def test_an_unavailable_store_at_the_start_is_no_reason_to_sign_in(
    home: Home, break_store: Break
) -> None:
    """No credential is cached: requests get a 503 until the store can be read."""
    home.write(login())
    break_store(home.path)
    source = home.source()
    await source.start()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await soon(source.current())
    assert home.events_of(LoginNeeded) == []
    restore(home.path)
    home.write(login())
    await source.reload_if_changed()
    assert (await source.current()).refresh_token == refresh_token_of("first")


async def test_a_torn_file_is_overwritten_after_the_timeout(
    home: Home,
) -> None:
    """Not before: a slow writer may still finish it."""
    home.write(login())
    source = home.source()
    cached = await source.current()
    tear(home.path)
    torn = home.path.read_bytes()
    await source.reload_if_changed()
    home.clock.advance(TORN_TIMEOUT_SECONDS - 1.0)
    await source.retry_save()
    assert home.path.read_bytes() == torn
    home.clock.advance(1.0)
    await source.retry_save()
    assert home.stored_refresh_token() == cached.refresh_token
    assert len(home.events_of(CredentialHeldInMemory)) == 1
    assert home.events_of(CredentialSaved) == [CredentialSaved("default")]
    assert source.status().state == "usable"
    assert await source.current() is cached
    assert home.authority.calls == []


async def test_a_torn_file_on_a_full_disk_is_written_back_when_there_is_room(
    home: Home,
) -> None:
    """Until then the login is in memory only, and is served."""
    home.write(login())
    source = home.source()
    cached = await source.current()
    empty(home.path)
    await source.reload_if_changed()
    home.clock.advance(TORN_TIMEOUT_SECONDS)
    with full_disk():
        for _ in range(3):
            await source.retry_save()
        assert source.status().in_memory_only
        assert await source.current() is cached
    assert home.events_of(CredentialSaved) == []
    await source.retry_save()
    assert home.stored_refresh_token() == cached.refresh_token
    assert not source.status().in_memory_only


async def test_a_torn_file_of_another_account_is_left_as_it_is(home: Home) -> None:
    """The file held another account's login before; the cached credential is not written."""
    home.write(login())
    source = home.source()
    await source.current()
    home.write(login("x", account="acct-2"))
    await source.reload_if_changed()
    empty(home.path)
    await source.reload_if_changed()
    home.clock.advance(TORN_TIMEOUT_SECONDS)
    await source.retry_save()
    await source.close()
    assert home.path.read_bytes() == b""
    assert source.status().code == "account_changed"


async def test_a_sign_out_after_a_torn_file_is_a_sign_out(home: Home) -> None:
    """The torn file was removed: nothing is written."""
    home.write(login())
    source = home.source()
    await source.current()
    empty(home.path)
    await source.reload_if_changed()
    home.path.unlink()
    home.clock.advance(TORN_TIMEOUT_SECONDS)
    for _ in range(2):
        await source.reload_if_changed()
        await source.retry_save()
    await source.close()
    assert not home.path.exists()
    with pytest.raises(LoginRequired) as why:
        await source.current()
    assert why.value.reason == "missing"
