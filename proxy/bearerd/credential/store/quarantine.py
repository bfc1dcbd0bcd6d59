"""Credentials that are kept beside a store and never served from there.

Two kinds, each in a file of its own, mode 0600:

1. `foreign`: the authority issued them for another account than the profile's. The
   presented token is spent, so this is the only copy of what came for it.
2. `new_login`: a person has signed in, and the store could not be written or locked.

`bearerd adopt` takes the first kind up on purpose. The next process that holds the
store's lock takes up the second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from bearerd.credential.store.reader import StoreReader
from bearerd.credential.token import Credential, credential_of
from bearerd.errors import StoreError
from bearerd.files import atomic
from bearerd.files.regular import read_regular
from bearerd.files.threads import run_to_end
from bearerd.json_object import json_object

Kind: TypeAlias = Literal["foreign", "new_login"]

KEPT_LIMIT_BYTES = 1 << 20
"""A login is about 5 KiB; a larger file is none."""

SUFFIXES: dict[Kind, str] = {"foreign": "-foreign", "new_login": "-new-login"}


@dataclass(frozen=True, slots=True)
class Kept:
    """A credential in quarantine.

    *presented* is the fingerprint of the token that it was issued for, or "". *since* is
    epoch seconds.
    """

    credential: Credential = field(repr=False)
    presented: str
    since: float

    def to_json(self) -> bytes:
        """Return the document of the file. It holds tokens."""
        document: dict[str, Any] = {"version": 1} | asdict(self)
        del document["credential"]["generation"]
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Kept | None:
        """Return what *content* holds, or None if it is torn or of another kind."""
        try:
            document = json_object(content) or {}
            return cls(
                credential=credential_of(document["credential"]),
                presented=str(document["presented"]),
                since=float(document["since"]),
            )
        except (ValueError, TypeError, KeyError):
            return None


class Quarantine:
    """Owns the two files. *places* are tried in order, as the journal's are.

    The first of them lies in the store's folder, which is not made anew.
    """

    def __init__(
        self, places: Sequence[Path], *, reader: StoreReader | None = None
    ) -> None:
        self._places = tuple(places)
        self._reader = reader or StoreReader(str(places[0]))

    async def keep(self, kind: Kind, kept: Kept) -> Path:
        """Write *kept* durably; return where it is.

        An earlier foreign grant in its place is renamed and not lost: it gets the name
        of the token that it was issued for. Nothing reads it but a person.

        Raises:
            StoreError: no place can be written.
        """
        try:
            return await run_to_end(lambda: self._keep(kind, kept))
        except OSError as error:  # no thread can be started
            raise StoreError(f"no place to keep the login ({error})") from error

    async def read(self, kind: Kind) -> Kept | None:
        """Return the newest credential of *kind*, or None.

        Raises:
            StoreUnavailable: the file system does not respond.
        """
        return await self._reader.read(lambda: self._read(kind))

    async def clear(self, kind: Kind, kept: Kept | None = None) -> None:
        """Remove what is kept of *kind*, or only *kept* if it is given."""
        with suppress(OSError):  # no thread can be started
            await run_to_end(lambda: self._clear(kind, kept))

    def _keep(self, kind: Kind, kept: Kept) -> Path:
        reasons = []
        for index, path in enumerate(self._paths(kind)):
            try:
                if kind == "foreign":
                    _set_aside(path, kept)
                atomic.replace(path, kept.to_json(), makes_folder=index > 0)
                _remove_leftovers(kind, path)
            except OSError as error:
                reasons.append(f"{path}: {error.strerror or error}")
            else:
                return path
        raise StoreError(
            f"no place to keep the login ({'; '.join(reasons)}); make one of these "
            "folders writable for this user"
        )

    def _read(self, kind: Kind) -> Kept | None:
        found = []
        for path in self._paths(kind):
            with suppress(OSError):
                found.append(_read_kept(path))
        return max(
            (one for one in found if one is not None),
            key=lambda one: one.since,
            default=None,
        )

    def _clear(self, kind: Kind, kept: Kept | None) -> None:
        for path in self._paths(kind):
            _remove_leftovers(kind, path)
            with suppress(OSError):
                if kept is None or _read_kept(path) == kept:
                    path.unlink()

    def _paths(self, kind: Kind) -> list[Path]:
        suffix = SUFFIXES[kind]
        return [place.with_name(place.name + suffix) for place in self._places]


def _remove_leftovers(kind: Kind, path: Path) -> None:
    """Remove what a killed writer left at *path*: its temporary files hold tokens.

    A new login is written without the lock too, so a temporary file may be in use.
    """
    if kind == "foreign":
        atomic.remove_stale_temporaries(path)


def _read_kept(path: Path) -> Kept | None:
    """Return what the file at *path* holds, or None if it is torn or of another kind.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    return Kept.from_json(read_regular(path, KEPT_LIMIT_BYTES))


def _set_aside(path: Path, kept: Kept) -> None:
    """Rename another credential than that of *kept* at *path*, if there is one.

    Raises:
        OSError: it could not be renamed.
    """
    try:
        before = _read_kept(path)
    except FileNotFoundError:
        return
    if before is not None and before.credential != kept.credential:
        path.rename(path.with_name(f"{path.name}-{before.presented}"))
