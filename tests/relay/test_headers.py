"""Field lines: which pass, in which order, and which carry the credential."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.token import AUTH_CLAIM, Credential
from bearerd.relay.headers import (
    DROPPED_FROM_REQUESTS,
    DROPPED_FROM_RESPONSES,
    auth_fields,
    connection_options,
    request_head,
    response_head,
    trailer_lines,
)
from bearerd.relay.message import Field, Fields, ResponseHead

AUTH_FIELDS = b"Authorization: Bearer ours\r\n"
CREDENTIAL = Credential("made-up-access", "made-up-refresh", account_id="acct")

TOKENS = st.text("abcdeXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12)
VALUES = st.binary(max_size=20).map(
    lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F).strip()
)
FIELDS = st.lists(
    st.tuples(
        st.one_of(
            TOKENS,
            st.sampled_from(["Authorization", "connection", "HOST", "Cookie", "X-A"]),
        ).map(str.encode),
        st.one_of(VALUES, st.sampled_from([b"x-a, authorization", b"close", b""])),
    ),
    max_size=12,
).map(tuple)


def upstream_request(*fields: Field, framing: bytes = b"") -> bytes:
    """Return the head of a request with these fields."""
    return request_head(
        method=b"GET",
        target=b"/x",
        host=b"up.example",
        auth_fields=AUTH_FIELDS,
        fields=fields,
        framing=framing,
    )


def lines(head: bytes) -> list[bytes]:
    """Return a request's lines behind the ones that every request has."""
    start = b"GET /x HTTP/1.1\r\nHost: up.example\r\n" + AUTH_FIELDS
    assert head.startswith(start)
    assert head.endswith(b"\r\n\r\n") or head == start + b"\r\n"
    return head.removeprefix(start).split(b"\r\n")[:-2]


def response(*fields: Field) -> ResponseHead:
    """Return a response's head with these fields."""
    return ResponseHead(
        200, b"OK", fields, length=None, is_chunked=False, has_body=True
    )


def test_order_case_and_duplicates_are_kept() -> None:
    """No line is merged, moved or lost, in mixed case either."""
    fields = ((b"X-A", b"1"), (b"x-a", b"2"), (b"Z", b""), (b"X-A", b"3"), (b"b", b"4"))
    assert lines(upstream_request(*fields)) == [
        b"X-A: 1",
        b"x-a: 2",
        b"Z: ",
        b"X-A: 3",
        b"b: 4",
    ]


def test_bytes_above_ascii_are_kept() -> None:
    """RFC 9110 section 5.5: obs-text is opaque data."""
    assert lines(upstream_request((b"X-A", b"\x80\xff\xe9"))) == [b"X-A: \x80\xff\xe9"]


@pytest.mark.parametrize("name", sorted(DROPPED_FROM_REQUESTS))
def test_hop_by_hop_and_owned_fields_of_a_request_are_removed(name: bytes) -> None:
    """In any case."""
    for spelled in (name, name.upper(), name.title()):
        assert lines(upstream_request((spelled, b"mine"), (b"X-A", b"1"))) == [
            b"X-A: 1"
        ]


@pytest.mark.parametrize("name", sorted(DROPPED_FROM_RESPONSES))
def test_hop_by_hop_and_owned_fields_of_a_response_are_removed(name: bytes) -> None:
    """In any case; added lines come last."""
    for spelled in (name, name.upper(), name.title()):
        head = response_head(
            response((spelled, b"mine"), (b"X-A", b"1")), b"X-Added: 2\r\n"
        )
        assert head == b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-Added: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], set()),
        ([b"close"], {b"close"}),
        ([b"X-A, \t x-b ,X-a"], {b"x-a", b"x-b"}),
        ([b"X-A", b"", b"x-b"], {b"x-a", b"x-b", b""}),
        ([b",,"], {b""}),
        (
            [b"authorization, content-length, host"],
            {b"authorization", b"content-length", b"host"},
        ),
    ],
)
def test_every_connection_line_is_read(
    values: list[bytes], expected: set[bytes]
) -> None:
    """RFC 9110 section 7.6.1: a list over several lines, of which some are empty."""
    fields = tuple((b"coNNection", value) for value in values)
    assert connection_options(fields) == expected


def test_nominated_fields_are_removed_whichever_line_nominates_them() -> None:
    """Those before that line too."""
    fields = (
        (b"X-A", b"1"),
        (b"Connection", b""),
        (b"connection", b"x-a, X-B"),
        (b"X-b", b"2"),
        (b"X-C", b"3"),
    )
    assert lines(upstream_request(*fields)) == [b"X-C: 3"]
    assert b"X-A" not in response_head(response(*fields), b"")


def test_nominating_owned_fields_removes_the_client_s_and_not_the_relay_s() -> None:
    """Judge, strip, attach: what is attached last stays."""
    head = upstream_request(
        (b"Authorization", b"Bearer mine"),
        (b"Connection", b"authorization, content-length, host"),
        (b"Content-Length", b"9"),
        framing=b"Content-Length: 3\r\n",
    )
    assert lines(head) == [b"Content-Length: 3"]
    assert b"mine" not in head


@given(FIELDS)
def test_there_is_exactly_one_authorization_and_one_host(fields: Fields) -> None:
    """Whatever a client sends: they are the relay's."""
    names = [
        line.partition(b":")[0].lower()
        for line in upstream_request(*fields).split(b"\r\n")
    ]
    assert names.count(b"authorization") == 1
    assert names.count(b"host") == 1


@given(FIELDS)
def test_fields_that_pass_are_unchanged_and_in_order(fields: Fields) -> None:
    """No line is changed or added."""
    dropped = DROPPED_FROM_REQUESTS | connection_options(fields)
    expected = [
        name + b": " + value for name, value in fields if name.lower() not in dropped
    ]
    assert lines(upstream_request(*fields)) == expected


def jwt(payload: object) -> str:
    """Return an unsigned token with *payload*."""
    part = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
    return f"e30.{part}.x"


def test_the_auth_fields_are_bearer_and_account() -> None:
    """Each once, as Codex spells them."""
    assert auth_fields(CREDENTIAL) == (
        b"Authorization: Bearer made-up-access\r\nChatGPT-Account-ID: acct\r\n"
    )


def test_without_an_account_there_is_no_account_field() -> None:
    """No value is invented."""
    unnamed = Credential("made-up-access", "made-up-refresh")
    assert auth_fields(unnamed) == b"Authorization: Bearer made-up-access\r\n"


@pytest.mark.parametrize(
    ("auth", "is_marked"),
    [
        ({"chatgpt_account_is_fedramp": True}, True),
        ({"chatgpt_account_is_fedramp": False}, False),
        ({"chatgpt_account_is_fedramp": "true"}, False),
        ({}, False),
        ("text", False),
    ],
)
def test_an_account_in_fedramp_is_marked(auth: object, is_marked: bool) -> None:
    """By the claim of its id token; only `true` counts."""
    credential = Credential("a", "r", id_token=jwt({AUTH_CLAIM: auth}))
    assert (b"X-OpenAI-Fedramp: true\r\n" in auth_fields(credential)) is is_marked


def test_a_renewed_credential_has_its_own_auth_fields() -> None:
    """The cache never returns another credential's."""
    renewed = Credential("newer-access", "made-up-refresh", account_id="acct")
    assert auth_fields(CREDENTIAL) != auth_fields(renewed)


def test_credentials_that_differ_in_their_id_tokens_alone_are_not_confused() -> None:
    """They are equal as values, and their FedRAMP marks differ."""
    claim = jwt({AUTH_CLAIM: {"chatgpt_account_is_fedramp": True}})
    plain, marked = (Credential("a2", "r", id_token=one) for one in (None, claim))
    assert auth_fields(plain) != auth_fields(marked)


@pytest.mark.parametrize(
    ("trailers", "lines"),
    [
        ([], b""),
        ([(b"X-T", b"1"), (b"x-t", b"2")], b"X-T: 1\r\nx-t: 2\r\n"),
        (
            [(b"Server-Timing", b"a"), (b"Content-Length", b"9")],
            b"Server-Timing: a\r\n",
        ),
        ([(b"Set-Cookie", b"a=b"), (b"Transfer-Encoding", b"chunked")], b""),
        ([(b"WWW-Authenticate", b"Basic"), (b"content-type", b"text/html")], b""),
        ([(b"x-bearerd-error", b"login_required")], b""),
    ],
)
def test_a_trailer_cannot_say_what_belongs_in_a_head(
    trailers: list[Field], lines: bytes
) -> None:
    """RFC 9110 section 6.5.1."""
    assert trailer_lines(trailers) == lines
