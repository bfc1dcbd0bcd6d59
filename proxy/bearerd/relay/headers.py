"""Which field lines pass, which stay behind, and what we sign with. Pure; all bytes.

Orders that never change: what the client nominated in Connection goes first, then what
we own, and ours are set last. So `Connection: authorization` removes a client's field
and never ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from bearerd.credential.token import AUTH_CLAIM, Credential, claims
from bearerd.relay.message import Field, Fields, ResponseHead

HOP_BY_HOP = frozenset(
    {
        # RFC 9110 section 7.6.1
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        # RFC 9110 sections 11.7.1, 11.7.2: for the next proxy only
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
    }
)

OWNED_IN_REQUESTS = frozenset(
    {
        b"host",  # RFC 9112 section 3.2: it names the server that we ask
        b"content-length",  # set anew from what is really sent
        b"expect",  # we have answered it (RFC 9110 section 10.1.1)
        b"authorization",
        b"x-bearerd-key",
        b"chatgpt-account-id",
        b"x-openai-fedramp",
        b"cookie",  # cookies belong to one client; the upstream must not mix them
        # Where a request came from is nobody's business upstream.
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)

OWNED_IN_RESPONSES = frozenset(
    {
        b"content-length",
        b"trailer",  # said anew where trailers are really sent
        b"set-cookie",
        b"x-bearerd-error",  # only ours may speak in our name
        b"x-bearerd-recovery",
    }
)

DROPPED_FROM_REQUESTS = HOP_BY_HOP | OWNED_IN_REQUESTS | {b"trailer"}
DROPPED_FROM_RESPONSES = HOP_BY_HOP | OWNED_IN_RESPONSES
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
    """Return the request line and the field lines for the upstream, ended.

    *signature* and *framing* are whole field lines, or empty.
    """
    lines = [method, b" ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\n", auth_fields]
    _append(lines, fields, DROPPED_FROM_REQUESTS)
    lines += (framing, b"\r\n")
    return b"".join(lines)


def response_head(head: ResponseHead, added: bytes) -> bytes:
    """Return the status line and the field lines for the client, ended.

    *added* is whole field lines: the framing, and what we say ourselves.
    """
    lines = [b"HTTP/1.1 %d " % head.status, head.reason, b"\r\n"]
    _append(lines, head.fields, DROPPED_FROM_RESPONSES)
    lines += (added, b"\r\n")
    return b"".join(lines)


def auth_fields(credential: Credential) -> bytes:
    """Return the field lines that sign a request: bearer, account, and FedRAMP's mark.

    The spelling is Codex's. The mark is for accounts whose id token says so.
    """
    # Two credentials are equal whatever their id tokens say, so these are the key.
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
    """Append every field line that may pass, in order and as spelled."""
    nominated = nominations(fields)
    if nominated:
        dropped |= nominated
    for name, value in fields:
        if name.lower() not in dropped:
            lines += (name, b": ", value, b"\r\n")


def trailer_lines(trailers: Iterable[Field]) -> bytes:
    """Return the trailer fields that may pass; one says nothing that a head may not.

    RFC 9110 section 6.5.1: none that frame, route or authenticate.
    """
    return b"".join(
        b"%b: %b\r\n" % field
        for field in trailers
        if field[0].lower() not in DROPPED_FROM_TRAILERS
    )


def nominations(fields: Fields) -> frozenset[bytes]:
    """Return what any Connection line names (RFC 9110 section 7.6.1), in lower case."""
    found = [value for name, value in fields if name.lower() == b"connection"]
    if not found:
        return frozenset()
    return frozenset(
        option.strip().lower() for value in found for option in value.split(b",")
    )
