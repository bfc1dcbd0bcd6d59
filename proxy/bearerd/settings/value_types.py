"""What the value of a setting may be: types that parse, check and put into one form.

A `ValueError` from here says what is allowed, as the end of `allowed is ...`. Knows no
setting by its name, and none of the places where a value may come from.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeAlias
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from bearerd.address import Address, is_loopback_host, parse_address
from bearerd.keys import shape

_HOST = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9_.-]+")
_VISIBLE = re.compile(r"[!-~]+")


def _no_boolean(value: object) -> object:
    """Refuse true and false for a number: Python counts them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004  # what pydantic collects is a ValueError
    return value


def _words(value: object) -> object:
    """Split a comma-separated string; an array comes as it is."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _addresses(value: object) -> tuple[Address, ...]:
    words = _words(value)
    if not isinstance(words, (tuple, list)):
        raise ValueError  # noqa: TRY004
    addresses = tuple(parse_address(str(word)) for word in words)
    fixed = [address for address in addresses if address.kind == "unix" or address.port]
    if len(set(fixed)) < len(fixed):
        raise ValueError("each address once")
    return addresses


def _addresses_or_none(value: object) -> tuple[Address, ...]:
    return () if value == "none" else _addresses(value)


def _at_least_one(value: tuple[Address, ...]) -> tuple[Address, ...]:
    if not value:
        raise ValueError("at least one address")
    return value


def _path(value: object) -> Path:
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise ValueError
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:  # there is no such user, or no home folder
        raise ValueError(
            "a path; the home folder behind `~` is not known here"
        ) from error


def _store_path(value: object) -> Path:
    text = str(value)
    if "://" in text:
        raise ValueError("a path")
    return _path(value)


def _certificates(path: Path) -> Path:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"a readable file of PEM certificates, and here: {error.strerror}"
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ValueError("a file of PEM certificates, and this one holds none")
    return path


def _split(value: object) -> SplitResult:
    text = str(value)
    if _VISIBLE.fullmatch(text) is None or "\\" in text:
        raise ValueError("a URL of visible ASCII characters")
    parts = urlsplit(text)
    if not parts.hostname:
        raise ValueError("a URL with a host")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("a URL whose port is from 1 to 65535") from error
    if port == 0:
        raise ValueError("a URL whose port is from 1 to 65535")
    return parts


def _origin(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def _service_url(value: object) -> str:
    """Put the URL of an outside service into one form: without a slash at its end."""
    parts = _split(value)
    if parts.scheme != "https" and not (
        parts.scheme == "http" and is_loopback_host(parts.hostname or "")
    ):
        raise ValueError("an https:// URL; http:// for a loopback host only")
    if "@" in parts.netloc:
        raise ValueError("a URL without a user name and password")
    if "?" in str(value) or "#" in str(value):
        raise ValueError("a URL without a query and a fragment")
    if any(part in {".", ".."} for part in parts.path.split("/")):
        raise ValueError("a URL whose path has no . or .. in it")
    return _origin(parts) + parts.path.rstrip("/")


def _proxy_url(value: object) -> str:
    parts = _split(value)
    if parts.scheme != "http":
        raise ValueError("an http:// URL of a proxy, such as http://proxy.example:3128")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("a URL without a path")
    return str(value).rstrip("/")


def _hosts(value: object) -> tuple[str, ...]:
    words = _words(value)
    if not isinstance(words, (tuple, list)):
        raise ValueError  # noqa: TRY004
    hosts = tuple(str(word).lower() for word in words)
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError
    return hosts


def _origins(value: object) -> tuple[str, ...]:
    words = _words(value)
    if not isinstance(words, (tuple, list)):
        raise ValueError  # noqa: TRY004
    origins = []
    for word in words:
        parts = _split(str(word).lower())
        if parts.scheme not in {"http", "https"} or _origin(parts) != str(word).lower():
            raise ValueError
        origins.append(_origin(parts))
    return tuple(origins)


def _visible(text: str) -> str:
    if _VISIBLE.fullmatch(text) is None:
        raise ValueError
    return text


def _strong(key: SecretStr) -> SecretStr:
    weakness = shape.weakness(key.get_secret_value())
    if weakness is not None:
        raise ValueError(weakness)
    return key


Seconds: TypeAlias = Annotated[float, BeforeValidator(_no_boolean)]
Whole: TypeAlias = Annotated[int, BeforeValidator(_no_boolean)]
Addresses: TypeAlias = Annotated[
    tuple[Address, ...], BeforeValidator(_addresses), AfterValidator(_at_least_one)
]
AddressesOrNone: TypeAlias = Annotated[
    tuple[Address, ...], BeforeValidator(_addresses_or_none)
]
FilePath: TypeAlias = Annotated[Path, BeforeValidator(_path)]
StorePath: TypeAlias = Annotated[Path, BeforeValidator(_store_path)]
CertificateFile: TypeAlias = Annotated[
    Path, BeforeValidator(_path), AfterValidator(_certificates)
]
ServiceUrl: TypeAlias = Annotated[str, BeforeValidator(_service_url)]
ProxyUrl: TypeAlias = Annotated[str, BeforeValidator(_proxy_url)]
Hosts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_hosts)]
Origins: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_origins)]
Text: TypeAlias = Annotated[str, AfterValidator(_visible)]
ClientKey: TypeAlias = Annotated[SecretStr, AfterValidator(_strong)]
