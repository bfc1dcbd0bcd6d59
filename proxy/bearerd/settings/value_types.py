"""The types of settings: each parses a raw value, checks it, and normalises it.

The text of a `ValueError` completes "expected ..."; without a text, the documentation of
the setting does. No type knows a setting by its name, or where a value comes from.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeAlias
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from bearerd.address import Address, is_loopback_host, parse_address
from bearerd.keys import shape
from bearerd.settings.metadata import Metavar

_HOST = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9_.-]+")
_VISIBLE = re.compile(r"[!-~]+")


def _not_boolean(value: object) -> object:
    """Return *value* if it is not a boolean, which Python would take for 1 or 0."""
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004  # pydantic collects ValueErrors only
    return value


def _items(value: object) -> tuple[str, ...]:
    """Return the items of an array, or of a string of items separated by commas."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if isinstance(value, (tuple, list)):
        return tuple(map(str, value))
    raise ValueError


def _addresses(value: object) -> tuple[Address, ...]:
    addresses = tuple(map(parse_address, _items(value)))
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
        raise ValueError("a path whose `~` is a known home folder") from error


def _store_path(value: object) -> Path:
    if "://" in str(value):
        raise ValueError
    return _path(value)


def _certificates(path: Path) -> Path:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"a readable file of PEM certificates ({error.strerror})"
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ValueError("a file of PEM certificates; this file has none")
    return path


def _url_parts(value: object) -> SplitResult:
    text = str(value)
    if _VISIBLE.fullmatch(text) is None or "\\" in text:
        raise ValueError("a URL of visible ASCII characters")
    parts = urlsplit(text)
    if not parts.hostname:
        raise ValueError("a URL with a host")
    try:
        is_valid_port = parts.port != 0
    except ValueError:  # above 65535
        is_valid_port = False
    if not is_valid_port:
        raise ValueError("a URL whose port is from 1 to 65535")
    return parts


def _origin(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def _service_url(value: object) -> str:
    """Return the URL of an outside service, normalised: no slash at its end."""
    parts = _url_parts(value)
    if parts.scheme != "https" and not (
        parts.scheme == "http" and is_loopback_host(parts.hostname or "")
    ):
        raise ValueError("an https:// URL, or an http:// URL of a loopback host")
    if "@" in parts.netloc:
        raise ValueError("a URL without a user name or a password")
    if "?" in str(value) or "#" in str(value):
        raise ValueError("a URL without a query or a fragment")
    if any(part in {".", ".."} for part in parts.path.split("/")):
        raise ValueError("a URL without . or .. in its path")
    return _origin(parts) + parts.path.rstrip("/")


def _proxy_url(value: object) -> str:
    parts = _url_parts(value)
    if parts.scheme != "http":
        raise ValueError("an http:// URL of a proxy, such as http://proxy.example:3128")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("a URL without a path")
    return str(value).rstrip("/")


def _hosts(value: object) -> tuple[str, ...]:
    hosts = tuple(item.lower() for item in _items(value))
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError
    return hosts


def _origins(value: object) -> tuple[str, ...]:
    origins = tuple(item.lower() for item in _items(value))
    for origin in origins:
        parts = _url_parts(origin)
        if parts.scheme not in {"http", "https"} or _origin(parts) != origin:
            raise ValueError
    return origins


def _visible_text(text: str) -> str:
    if _VISIBLE.fullmatch(text) is None:
        raise ValueError
    return text


def _strong_key(key: SecretStr) -> SecretStr:
    weakness = shape.weakness(key.get_secret_value())
    if weakness is not None:
        raise ValueError(weakness)
    return key


Seconds: TypeAlias = Annotated[float, BeforeValidator(_not_boolean)]
Integer: TypeAlias = Annotated[int, BeforeValidator(_not_boolean)]
Addresses: TypeAlias = Annotated[
    tuple[Address, ...],
    BeforeValidator(_addresses),
    AfterValidator(_at_least_one),
    Metavar("ADDRESS,..."),
]
AddressesOrNone: TypeAlias = Annotated[
    tuple[Address, ...], BeforeValidator(_addresses_or_none), Metavar("ADDRESS,...")
]
FilePath: TypeAlias = Annotated[Path, BeforeValidator(_path), Metavar("PATH")]
StorePath: TypeAlias = Annotated[Path, BeforeValidator(_store_path), Metavar("PATH")]
CertificateFile: TypeAlias = Annotated[
    Path, BeforeValidator(_path), AfterValidator(_certificates), Metavar("PATH")
]
ServiceUrl: TypeAlias = Annotated[str, BeforeValidator(_service_url), Metavar("URL")]
ProxyUrl: TypeAlias = Annotated[str, BeforeValidator(_proxy_url), Metavar("URL")]
Hosts: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(_hosts), Metavar("HOST,...")
]
Origins: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(_origins), Metavar("ORIGIN,...")
]
VisibleText: TypeAlias = Annotated[str, AfterValidator(_visible_text)]
ClientKey: TypeAlias = Annotated[SecretStr, AfterValidator(_strong_key), Metavar("KEY")]
