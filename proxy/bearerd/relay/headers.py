"""Which field lines pass through, and which are set here. Pure; all bytes.

The order never changes:

1. Judge. `access` reads the client's own field lines, before anything is removed.
2. Strip. The fields that a Connection line nominates, the hop-by-hop fields and the fields
   that the relay owns are removed, in whatever case they are spelled. All others stay:
   their order, their spelling and their bytes.
3. Attach. The relay's own lines are written. Nothing copies a client's field after that.

So `Connection: authorization` removes the client's Authorization in step 2 and never the
one of step 3. (Go's ReverseProxy got `Rewrite` for this: it strips after `Director`, so a
client's Connection line can remove what `Director` has set.)
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from bearerd.credential.token import AUTH_CLAIM, Credential, claims
from bearerd.relay.message import Field, Fields, ResponseHead

HOP_BY_HOP = frozenset(
    {
        # RFC 9110 section 7.6.1: to be removed even if no Connection line nominates them.
        b"connection",
        b"proxy-connection",  # no standard; old clients send it to proxies
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        # RFC 9110 section 11.7: between a client and its next proxy.
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
    }
)
"""Fields that are for one connection, and not for the message."""

OWNED_IN_REQUESTS = frozenset(
    {
        b"host",  # RFC 9112 section 3.2: it names the upstream
        b"content-length",  # RFC 9112 section 6.2: set again from what is sent
        b"expect",  # RFC 9110 section 10.1.1: answered by the relay
        b"authorization",
        b"x-bearerd-key",
        b"chatgpt-account-id",
        b"x-openai-fedramp",
        b"cookie",  # RFC 6265: a client's own; all clients share one login here
        # RFC 7239, RFC 9110 section 7.6.3: where a request is from stays in this machine.
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
"""Fields of a request that the relay sets itself, or keeps to itself."""

OWNED_IN_RESPONSES = frozenset(
    {
        b"content-length",  # RFC 9112 section 6.2: set again from what is sent
        b"trailer",  # RFC 9110 section 6.6.2: an announcement, optional
        b"set-cookie",  # the pool keeps Cloudflare's; the others belong to no client
        # Only bearerd marks a response as its own.
        b"x-bearerd-error",
        b"x-bearerd-recovery",
    }
)
"""Fields of a response that the relay sets itself, or keeps to itself."""

DROPPED_FROM_REQUESTS = HOP_BY_HOP | OWNED_IN_REQUESTS | {b"trailer"}
DROPPED_FROM_RESPONSES = HOP_BY_HOP | OWNED_IN_RESPONSES
# RFC 9110 section 6.5.1: a trailer must not frame, route, authenticate or describe the
# content, because the recipient has acted on the head by then.
DROPPED_FROM_TRAILERS = DROPPED_FROM_RESPONSES | {
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"www-authenticate",
}


def request_head(
    *,
    method: bytes,
    target: bytes,
    host: bytes,
    auth_fields: bytes,
    fields: Fields,
    framing: bytes,
) -> bytes:
    """Return the head of a request for the upstream, its empty line included.

    *auth_fields* and *framing* are whole field lines, or empty.
    """
    lines = [method, b" ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\n", auth_fields]
    _append(lines, fields, DROPPED_FROM_REQUESTS)
    lines += (framing, b"\r\n")
    return b"".join(lines)


def response_head(head: ResponseHead, added: bytes) -> bytes:
    """Return the head of a response for the client, its empty line included.

    *added* is whole field lines: the framing, and the relay's own fields.
    """
    lines = [b"HTTP/1.1 %d " % head.status, head.reason, b"\r\n"]
    _append(lines, head.fields, DROPPED_FROM_RESPONSES)
    lines += (added, b"\r\n")
    return b"".join(lines)


def trailer_lines(trailers: Iterable[Field]) -> bytes:
    """Return the lines of the trailer fields that pass."""
    return b"".join(
        b"%b: %b\r\n" % field
        for field in trailers
        if field[0].lower() not in DROPPED_FROM_TRAILERS
    )


def auth_fields(credential: Credential) -> bytes:
    """Return the field lines that carry the credential: bearer, account, FedRAMP mark.

    They are spelled as Codex spells them. The mark is for accounts whose id token has
    the claim `chatgpt_account_is_fedramp`.
    """
    # Two credentials with different id tokens may be equal, so the cache is by the parts.
    return _auth_fields(
        credential.access_token, credential.account_id, credential.id_token
    )


@lru_cache(maxsize=64)
def _auth_fields(
    access_token: str, account_id: str | None, id_token: str | None
) -> bytes:
    lines = b"Authorization: Bearer %b\r\n" % access_token.encode()
    if account_id is not None:
        lines += b"ChatGPT-Account-ID: %b\r\n" % account_id.encode()
    auth = claims(id_token).get(AUTH_CLAIM)
    if isinstance(auth, dict) and auth.get("chatgpt_account_is_fedramp") is True:
        lines += b"X-OpenAI-Fedramp: true\r\n"
    return lines


def _append(lines: list[bytes], fields: Fields, dropped: frozenset[bytes]) -> None:
    """Append every field line that passes, in order and as spelled."""
    nominated = connection_options(fields)
    if nominated:
        dropped |= nominated
    for name, value in fields:
        if name.lower() not in dropped:
            lines += (name, b": ", value, b"\r\n")


def connection_options(fields: Fields) -> frozenset[bytes]:
    """Return the options of all Connection lines in lower case: they nominate fields.

    RFC 9110 section 7.6.1.
    """
    lines = [value for name, value in fields if name.lower() == b"connection"]
    if not lines:
        return frozenset()
    return frozenset(
        option.strip().lower() for value in lines for option in value.split(b",")
    )
