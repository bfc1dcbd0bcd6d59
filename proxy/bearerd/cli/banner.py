"""What the daemon prints on a terminal once it listens.

Its addresses, the client key, and the profiles without a login. Reads no file; only looks
whether the file of the first key exists.
"""

from __future__ import annotations

from collections.abc import Iterator

from bearerd.address import parse_address
from bearerd.admin.health import remedy
from bearerd.admin.status import ServiceStatus
from bearerd.keys.ring import KeyRing
from bearerd.settings import Settings


def banner(status: ServiceStatus, keys: KeyRing, settings: Settings) -> str:
    """Return the text, without an end of line."""
    return "\n".join(_lines(status, keys, settings))


def _lines(status: ServiceStatus, keys: KeyRing, settings: Settings) -> Iterator[str]:
    yield f"bearerd {status.version} listens on {', '.join(status.relay)}"
    urls = [parse_address(text).base_url for text in status.relay]
    base_url = next((url for url in urls if url is not None), None)
    if base_url is not None:
        yield f"  base URL for OpenAI SDKs        {base_url}/v1"
        yield f"  base URL for ChatGPT clients    {base_url}/backend-api"
    yield f"  client key                      {_client_key(keys, settings)}"
    for text in status.admin:
        address = parse_address(text)
        yield f"  status page                     {address.base_url or address}"
    for source in status.sources:
        if not source.is_well:
            yield f"  profile {source.profile}: {remedy(source)}"
        else:
            yield f"  profile {source.profile} has a login: {source.store}"


def _client_key(keys: KeyRing, settings: Settings) -> str:
    if not settings.require_key:
        return "none is needed (require_key = false)"
    first = keys.first_key_file()
    if first is not None:
        return f"cat {first}"
    if settings.client_key is not None:
        return "the client_key in the settings"
    names = ", ".join(keys.names())
    return f"one of {names}; create another with `bearerd key create NAME`"
