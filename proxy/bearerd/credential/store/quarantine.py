"""The quarantine: credentials that are kept beside a store and not served.

There are two kinds, each in its own file with mode 0600:

1. `foreign`: a credential that the authority issued for another account than the
   profile's. The presented token is spent, so this is the only copy.
2. `new_login`: the credential of a sign-in that could not be stored, because the store
   was not writable or was locked.

`bearerd adopt` installs the first kind. The next holder of the store's lock installs the
second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from bearerd.credential.store.reader import StoreReader
from bearerd.credential.token import Credential, parse_credential
from bearerd.errors import StoreError
from bearerd.files import atomic
from bearerd.files.regular import read_regular
from bearerd.files.threads import run_to_end
from bearerd.json_object import json_object

Kind: TypeAlias = Literal["foreign", "new_login"]

FILE_LIMIT_BYTES = 1 << 20
"""A credential has about 5 KiB; a larger file is not one."""

SUFFIXES: dict[Kind, str] = {"foreign": "-foreign", "new_login": "-new-login"}


@dataclass(frozen=True, slots=True)
class QuarantinedCredential:
    """A credential in quarantine since *since*, in epoch seconds.

    *presented* is the fingerprint of the refresh token that was spent for it; it is empty
    for a sign-in.
    """

    credential: Credential = field(repr=False)
    presented: str
    since: float

    def to_json(self) -> bytes:
        """Return the content of the file. It contains tokens."""
        document: dict[str, Any] = {"version": 1} | asdict(self)
        del document["credential"]["generation"]
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> QuarantinedCredential | None:
        """Return the credential in *content*, or None if it is torn or invalid."""
        try:
            document = json_object(content) or {}
            return cls(
                credential=parse_credential(document["credential"]),
                presented=str(document["presented"]),
                since=float(document["since"]),
            )
        except (ValueError, TypeError, KeyError):
            return None


class Quarantine:
    """Owns the two files. *paths* are tried in order, like those of the journal.

    The first path is in the store's folder, which is never created here.
    """

    def __init__(
        self, paths: Sequence[Path], *, reader: StoreReader | None = None
    ) -> None:
        self._paths = tuple(paths)
        self._reader = reader or StoreReader(str(paths[0]))

    async def write(self, kind: Kind, quarantined: QuarantinedCredential) -> Path:
        """Write *quarantined* durably; return the path.

        An earlier foreign grant at that path is renamed: the fingerprint of its token is
        appended to its name. No command reads the renamed file; it is for a person.

        Raises:
            StoreError: none of the paths can be written.
        """
        try:
            return await run_to_end(lambda: self._write(kind, quarantined))
        except OSError as error:  # no thread can be started
            raise StoreError(f"the login cannot be quarantined ({error})") from error

    async def read(self, kind: Kind) -> QuarantinedCredential | None:
        """Return the newest credential of *kind*, or None.

        Raises:
            StoreUnavailable: the file system does not respond.
        """
        return await self._reader.read(lambda: self._read(kind))

    async def clear(
        self, kind: Kind, quarantined: QuarantinedCredential | None = None
    ) -> None:
        """Remove the files of *kind*; only those with *quarantined* if it is given."""
        with suppress(OSError):  # no thread can be started
            await run_to_end(lambda: self._clear(kind, quarantined))

    def _write(self, kind: Kind, quarantined: QuarantinedCredential) -> Path:
        reasons = []
        for index, path in enumerate(self._files(kind)):
            try:
                if kind == "foreign":
                    _rename_earlier(path, quarantined)
                atomic.replace(path, quarantined.to_json(), creates_folder=index > 0)
                _remove_temporaries(kind, path)
            except OSError as error:
                reasons.append(f"{path}: {error.strerror or error}")
            else:
                return path
        raise StoreError(
            f"the login cannot be quarantined ({'; '.join(reasons)}); make one of these "
            "folders writable for this user"
        )

    def _read(self, kind: Kind) -> QuarantinedCredential | None:
        found = []
        for path in self._files(kind):
            with suppress(OSError):
                found.append(_read_file(path))
        return max(
            (each for each in found if each is not None),
            key=lambda each: each.since,
            default=None,
        )

    def _clear(self, kind: Kind, quarantined: QuarantinedCredential | None) -> None:
        for path in self._files(kind):
            _remove_temporaries(kind, path)
            with suppress(OSError):
                if quarantined is None or _read_file(path) == quarantined:
                    path.unlink()

    def _files(self, kind: Kind) -> list[Path]:
        suffix = SUFFIXES[kind]
        return [path.with_name(path.name + suffix) for path in self._paths]


def _remove_temporaries(kind: Kind, path: Path) -> None:
    """Remove the temporary files of writers that were killed: they contain tokens.

    A new login can be written without the lock, so its temporary file may be in use.
    """
    if kind == "foreign":
        atomic.remove_stale_temporaries(path)


def _read_file(path: Path) -> QuarantinedCredential | None:
    """Return the credential in the file at *path*, or None if it is torn or invalid.

    Raises:
        OSError: the file does not exist, or cannot be read.
    """
    return QuarantinedCredential.from_json(read_regular(path, FILE_LIMIT_BYTES))


def _rename_earlier(path: Path, quarantined: QuarantinedCredential) -> None:
    """Rename the file at *path* if it contains another credential than *quarantined*.

    Raises:
        OSError: it could not be renamed.
    """
    try:
        earlier = _read_file(path)
    except FileNotFoundError:
        return
    if earlier is not None and earlier.credential != quarantined.credential:
        path.rename(path.with_name(f"{path.name}-{earlier.presented}"))
