"""Codex's own login: the path of its file, whether a store shares it, and its locks.

Two programs with copies of one refresh token sign each other out: the second one
presents a token that the first has spent. They can share one file, since both lock it,
but not a copy of the login in a second file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from bearerd.clock import Clock
from bearerd.credential.store import auth_json
from bearerd.credential.token import Credential
from bearerd.files import atomic
from bearerd.files.flock import flock

Sharing: TypeAlias = Literal["none", "same_file", "copy"]

CODEX_FILE = "auth.json"
CODEX_LOCKS = ("auth.lock", "auth.json.lock")

CODEX_LOCK_TIMEOUT_SECONDS = 5.0
"""Codex holds its locks for a few milliseconds."""


def codex_file(codex_home: str | None, home: Path) -> Path:
    """Return the path of Codex's `auth.json`; *codex_home* is its `CODEX_HOME`.

    An empty variable counts as unset (codex-rs `find_codex_home`).
    """
    return (Path(codex_home) if codex_home else home / ".codex") / "auth.json"


def sharing(store: Path, credential: Credential | None, codex: Path) -> Sharing:
    """Return whether *store* and Codex's file are one file, have one login, or neither."""
    if atomic.real_path(store) == atomic.real_path(codex):
        return "same_file"
    if credential is None or not credential.refresh_token:
        return "none"
    try:
        other = auth_json.credential(auth_json.decode(codex.read_bytes()))
    except (OSError, auth_json.InvalidDocument):
        return "none"
    return "copy" if other.fingerprint == credential.fingerprint else "none"


@asynccontextmanager
async def codex_locks(target: Path, clock: Clock) -> AsyncIterator[None]:
    """Hold Codex's locks, in Codex's order, if *target* is named like Codex's file.

    Codex 0.169 takes `auth.lock` and then `auth.json.lock` in the file's folder, both by
    flock, while it reads the file again and replaces it. It holds neither during a call
    to the authority. bearerd does not either: Codex could not store a token that it has
    just received. Observed with strace on Codex CLI 0.169.0.

    Raises:
        TimeoutError: another program does not release one of them.
        OSError: no lock file can be created in the folder.
    """
    async with AsyncExitStack() as stack:
        if target.name == CODEX_FILE:
            for name in CODEX_LOCKS:
                lock = flock(target.with_name(name), clock, CODEX_LOCK_TIMEOUT_SECONDS)
                await stack.enter_async_context(lock)
        yield
