"""What the daemon says on a terminal once it listens.

Where, with which key, and what is missing. Pure, but for a look at whether the file of
the first key is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from bearerd.address import parse_address
from bearerd.admin.health import ServiceStatus, needs_person, remedy
from bearerd.keys.ring import KeyRing
from bearerd.settings import Settings


def first_words(status: ServiceStatus, keys: KeyRing, settings: Settings) -> str:
    """Return the text, without an end of line."""
    return "\n".join(_lines(status, keys, settings))


def _lines(status: ServiceStatus, keys: KeyRing, settings: Settings) -> Iterator[str]:
    yield f"bearerd {status.version} listens on {', '.join(status.relay)}"
    urls = [parse_address(text).base_url for text in status.relay]
    base = next((url for url in urls if url is not None), None)
    if base is not None:
        yield f"  base URL for OpenAI SDKs and the like   {base}/v1"
        yield f"  base URL for ChatGPT clients            {base}/backend-api"
    yield f"  client key                              {_key(keys, settings)}"
    for text in status.admin:
        address = parse_address(text)
        yield f"  status page                             {address.base_url or address}"
    for source in status.sources:
        if needs_person(source):
            yield f"  profile {source.profile} needs a sign-in: {remedy(source)}"
        else:
            yield f"  profile {source.profile} has a credential: {source.store}"


def _key(keys: KeyRing, settings: Settings) -> str:
    if not settings.require_key:
        return "none is needed (require_key = false)"
    first = keys.first_key_file()
    if first is not None:
        return f"cat {first}"
    if settings.client_key is not None:
        return "the one in the settings"
    return f"one of {', '.join(keys.names())}; more by `bearerd key create NAME`"
