"""Where Codex keeps its own login, and whether a store shares it.

Two programs with one refresh token sign each other out: whoever spends it first leaves
the other with a spent one. One file for both is all right, since both lock it; a copy
of the login in another file never is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from bearerd.credential.store import auth_json
from bearerd.credential.token import Credential
from bearerd.files import atomic

Sharing: TypeAlias = Literal["none", "same_file", "copy"]


def codex_file(codex_home: str | None, home: Path) -> Path:
    """Return Codex's `auth.json`. *codex_home* is its variable `CODEX_HOME`, if set.

    An empty variable is one that is not set (codex-rs `find_codex_home`).
    """
    return (Path(codex_home) if codex_home else home / ".codex") / "auth.json"


def sharing(store: Path, credential: Credential | None, codex: Path) -> Sharing:
    """Say whether *store* is Codex's file, or *credential* a copy of the login in it."""
    if atomic.real_path(store) == atomic.real_path(codex):
        return "same_file"
    if credential is None or not credential.refresh_token:
        return "none"
    try:
        theirs = auth_json.credential(auth_json.decode(codex.read_bytes()))
    except (OSError, auth_json.InvalidDocument):
        return "none"
    return "copy" if theirs.fingerprint == credential.fingerprint else "none"
