"""`auth.json`: its meaning, and its form after a refresh."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bearerd.credential.store import auth_json
from bearerd.credential.store.auth_json import InvalidDocument
from tests.credential.stand_ins import (
    START,
    Document,
    credential_for,
    identity,
    jwt,
    login,
)

EIGHT_DAYS = 8 * 24 * 3600


def changed(document: Document, **tokens: Any) -> Document:
    """Return the document with other tokens; None removes one."""
    merged = document["tokens"] | tokens
    return document | {
        "tokens": {key: value for key, value in merged.items() if value is not None}
    }


def codex_reads(content: bytes) -> Document:
    """Read the file as strictly as Codex does, and fail where Codex would refuse it."""
    document = json.loads(content)
    assert document.get("auth_mode") in ("chatgpt", None, "apikey")
    assert "OPENAI_API_KEY" in document
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
        document["last_refresh"],
    )
    tokens = document["tokens"]
    assert isinstance(tokens["access_token"], str)
    assert isinstance(tokens["refresh_token"], str)
    assert tokens.get("account_id") is None or isinstance(tokens["account_id"], str)
    head, payload, signature = tokens["id_token"].split(".")
    assert head
    assert signature
    assert "=" not in payload
    padded = payload + "=" * (-len(payload) % 4)
    assert isinstance(
        json.loads(base64.b64decode(padded, altchars=b"-_", validate=True)), dict
    )
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not valid JSON"),
        (b'{"tokens": {"acc', "it is not valid JSON"),
        (b"\xff\xfe{}", "it is not valid JSON"),
        (b"[" * 200_000, "it is not valid JSON"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b'"auth"', "it is not a JSON object"),
    ],
    ids=["empty", "torn", "not-utf-8", "nested-without-end", "list", "null", "text"],
)
def test_content_that_is_no_json_object_is_torn(content: bytes, why: str) -> None:
    """The message is the reason, and quotes nothing of the content."""
    with pytest.raises(InvalidDocument) as invalid:
        auth_json.decode(content)
    assert str(invalid.value) == why
    assert invalid.value.is_torn


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "it holds no ChatGPT tokens"),
        (
            {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-made-up"},
            "a login with auth_mode apikey",
        ),
        (login() | {"auth_mode": "apikey"}, "a login with auth_mode apikey"),
        (
            login() | {"auth_mode": "personalAccessToken"},
            "auth_mode personalAccessToken",
        ),
        (login() | {"auth_mode": 7}, "a login with auth_mode unknown"),
        (login() | {"auth_mode": "a\r\nb"}, "a login with auth_mode unknown"),
        (
            {"OPENAI_API_KEY": "sk-made-up", "tokens": None},
            "it holds an API key and no ChatGPT tokens",
        ),
        ({"tokens": []}, "it holds no ChatGPT tokens"),
        ({"tokens": {}}, "its access token is missing"),
        ({"tokens": {"access_token": ""}}, "its access token is missing"),
        ({"tokens": {"access_token": 7}}, "its access token is missing"),
        ({"tokens": {"access_token": None}}, "its access token is missing"),
        ({"tokens": {"access_token": "a\r\nx: y"}}, "not visible ASCII"),
        ({"tokens": {"access_token": "a\n"}}, "not visible ASCII"),
        ({"tokens": {"access_token": "a b"}}, "not visible ASCII"),
        ({"tokens": {"access_token": "ü"}}, "not visible ASCII"),
        ({"tokens": {"access_token": "\ud800"}}, "not visible ASCII"),
    ],
    ids=[
        "empty",
        "api-key",
        "api-key-with-old-tokens",
        "access-token-of-a-person",
        "mode-a-number",
        "mode-with-a-line-end",
        "older-api-key",
        "tokens-a-list",
        "no-tokens",
        "empty-token",
        "number",
        "null",
        "line-end-inside",
        "line-end-at-the-end",
        "blank",
        "not-ascii",
        "surrogate",
    ],
)
def test_a_document_without_a_chatgpt_login_is_invalid_and_not_torn(
    document: Document, why: str
) -> None:
    """The message names what it holds instead, and quotes no secret."""
    with pytest.raises(InvalidDocument, match=why) as invalid:
        auth_json.credential(document)
    assert "sk-made-up" not in str(invalid.value)
    assert not invalid.value.is_torn


def test_a_login_is_read_whole() -> None:
    """Tokens, account, user, end, and when it was issued."""
    document = login()
    credential = auth_json.credential(document)
    assert credential.access_token == document["tokens"]["access_token"]
    assert credential.refresh_token == document["tokens"]["refresh_token"]
    assert credential.id_token == document["tokens"]["id_token"]
    assert (credential.account_id, credential.user_id) == ("acct-1", "user-1")
    assert credential.expires_at == START + 24 * 3600
    assert credential.refreshed_at == START


@pytest.mark.parametrize(
    ("in_id_token", "in_access_token", "expected"),
    [
        (("acct-1", "of-id"), ("acct-1", "of-access"), "of-id"),
        (("acct-1", "of-id"), (None, None), "of-id"),
        ((None, "of-id"), ("acct-1", "of-access"), "of-id"),
        (("acct-1", None), ("acct-1", "of-access"), "of-access"),
        (("acct-2", "of-id"), ("acct-1", "of-access"), "of-access"),
        (("acct-2", "of-id"), ("acct-1", None), None),
    ],
)
def test_the_user_is_that_of_an_id_token_of_the_same_account(
    in_id_token: tuple[str | None, str | None],
    in_access_token: tuple[str | None, str | None],
    expected: str | None,
) -> None:
    """An id token of another account says nothing about who the access token is for."""
    tokens = {
        "id_token": jwt(identity(*in_id_token)),
        "access_token": jwt(identity(*in_access_token)),
    }
    assert auth_json.credential(changed(login(), **tokens)).user_id == expected


@pytest.mark.parametrize(
    ("account_id", "in_id_token", "in_access_token", "expected"),
    [
        ("chosen", "from-id", "from-access", "chosen"),
        (None, "from-id", "from-access", "from-id"),
        ("", "from-id", "from-access", "from-id"),
        (None, None, "from-access", "from-access"),
        (None, None, None, None),
        (7, "from-id", None, "from-id"),
        ("a\r\nb", "from-id", None, "from-id"),
        (None, "a\r\nb", "from-access", "from-access"),
        (None, None, "\ud800", None),
        (["acct"], None, None, None),
    ],
)
def test_the_account_is_the_files_else_the_tokens(
    account_id: object,
    in_id_token: str | None,
    in_access_token: str | None,
    expected: str | None,
) -> None:
    """A workspace that a person chose comes before the claims. A name that is no visible
    ASCII is none: it would go into a header field.
    """
    tokens = {
        "access_token": jwt(identity(in_access_token, "u")),
        "refresh_token": "r",
        "id_token": jwt(identity(in_id_token, "u")),
        "account_id": account_id,
    }
    assert auth_json.credential({"tokens": tokens}).account_id == expected


@pytest.mark.parametrize("refresh_token", [None, "", 7, ["r"], "r\n", "\ud800"])
def test_a_login_without_a_usable_refresh_token_is_a_login(
    refresh_token: object,
) -> None:
    """Its access token serves until its end; another program may have written it."""
    document = {"tokens": {"access_token": "a", "refresh_token": refresh_token}}
    assert auth_json.credential(document).refresh_token == ""


@pytest.mark.parametrize(
    ("last_refresh", "refreshed_at"),
    [
        ("2027-01-15T08:00:00Z", START),
        ("2027-01-15T08:00:00.5Z", START + 0.5),
        ("2027-01-15T08:00:00.123456789Z", START + 0.123456),
        ("2027-01-15T08:00:00.000000001Z", START),
        ("2027-01-15T09:30:00+01:30", START),
        ("2027-01-15T08:00:00", START),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1_800_000_000, None),
        ({}, None),
    ],
)
def test_a_timestamp_of_codex_dates_an_opaque_token(
    last_refresh: object, refreshed_at: float | None
) -> None:
    """Nanoseconds and offsets are read; anything else dates nothing."""
    document = changed(login(), access_token="opaque") | {"last_refresh": last_refresh}
    credential = auth_json.credential(document)
    if refreshed_at is None:
        assert (credential.expires_at, credential.refreshed_at) == (None, None)
    else:
        assert credential.refreshed_at == pytest.approx(refreshed_at, abs=1e-6)
        expected = pytest.approx(refreshed_at + EIGHT_DAYS, abs=1e-6)
        assert credential.expires_at == expected


def test_a_refresh_changes_the_tokens_and_keeps_all_else() -> None:
    """Unknown fields stay, at the top and among the tokens."""
    document = changed(login(), later_field={"deep": [1, 2]}) | {
        "agent_identity": {"agent_runtime_id": "x"},
        "note": "grüße",
    }
    before = json.dumps(document)
    new = credential_for("second")
    renewed = auth_json.with_tokens(document, new, START + 7.5)
    assert renewed["tokens"]["access_token"] == new.access_token
    assert renewed["tokens"]["refresh_token"] == new.refresh_token
    assert renewed["last_refresh"] == "2027-01-15T08:00:07.500000Z"
    for name in ("agent_identity", "note", "auth_mode", "OPENAI_API_KEY"):
        assert renewed[name] == document[name]
    for name in ("later_field", "account_id", "id_token"):
        assert renewed["tokens"][name] == document["tokens"][name]
    assert json.dumps(document) == before, "the old document was changed"


@pytest.mark.parametrize(
    ("fields", "mode", "api_key"),
    [
        ({}, "chatgpt", None),
        ({"OPENAI_API_KEY": "sk-made-up"}, "chatgpt", "sk-made-up"),
        ({"auth_mode": None, "OPENAI_API_KEY": "sk-made-up"}, "chatgpt", "sk-made-up"),
    ],
)
def test_the_mode_is_written_down(
    fields: Document, mode: str, api_key: str | None
) -> None:
    """Without it, Codex would use an API key that lies beside the tokens."""
    document = {"tokens": login()["tokens"], **fields}
    renewed = auth_json.with_tokens(document, credential_for("second"), START)
    assert (renewed["auth_mode"], renewed["OPENAI_API_KEY"]) == (mode, api_key)


@pytest.mark.parametrize(
    "id_token",
    [None, "", "no-jwt", "a.b", "a.b.c", ".e30.x", f"{jwt({'sub': 'x'})}.more"],
)
def test_a_bad_id_token_never_replaces_the_old(id_token: str | None) -> None:
    """Codex refuses the whole file for one that it cannot decode."""
    document = login()
    new = auth_json.credential(changed(login("second"), id_token=id_token))
    renewed = auth_json.with_tokens(document, new, START)
    assert renewed["tokens"]["id_token"] == document["tokens"]["id_token"]
    codex_reads(auth_json.encode(renewed))


def test_a_good_id_token_replaces_the_old() -> None:
    """The one that the authority issued last."""
    new = auth_json.credential(login("second"))
    renewed = auth_json.with_tokens(login(), new, START)
    assert renewed["tokens"]["id_token"] == new.id_token


def test_codex_can_go_on_with_what_we_write() -> None:
    """Codex accepts it, and it is read back as it was meant."""
    new = auth_json.credential(login("second"))
    content = auth_json.encode(auth_json.with_tokens(login(), new, START + 0.25))
    document = codex_reads(content)
    assert document["auth_mode"] == "chatgpt"
    assert document["OPENAI_API_KEY"] is None
    moment = datetime.fromisoformat(document["last_refresh"])
    assert moment == datetime.fromtimestamp(START + 0.25, UTC)
    assert auth_json.credential(auth_json.decode(content)) == new


def test_an_account_that_only_the_tokens_named_is_written_down() -> None:
    """Codex reads the account from this field only."""
    document = login()
    del document["tokens"]["account_id"]
    new = auth_json.credential(document)
    renewed = auth_json.with_tokens(document, new, START)
    assert renewed["tokens"]["account_id"] == "acct-1"


@pytest.mark.parametrize("before", ["acct-1", None, 7])
def test_the_account_of_the_tokens_is_the_one_in_the_file(before: object) -> None:
    """Tokens of one account under the name of another would be sent as the other's."""
    document = login()
    document["tokens"]["account_id"] = before
    new = auth_json.credential(login("second", account="acct-2"))
    renewed = auth_json.with_tokens(document, new, START)
    assert renewed["tokens"]["account_id"] == "acct-2"
    assert auth_json.credential(renewed) == new


def test_a_login_that_names_no_account_keeps_the_field() -> None:
    """An opaque grant for a login whose account the file names."""
    new = replace(auth_json.credential(login("second")), account_id=None)
    renewed = auth_json.with_tokens(login(), new, START)
    assert renewed["tokens"]["account_id"] == "acct-1"


def test_a_new_login_can_be_written_without_an_old_one() -> None:
    """An empty document becomes a file that Codex reads."""
    new = auth_json.credential(login())
    content = auth_json.encode(auth_json.with_tokens({}, new, START))
    assert codex_reads(content)["tokens"]["account_id"] == "acct-1"


@pytest.mark.parametrize(
    "text", ["grüße", "日本", "\ud83d\ude00", "\ud83d", "\x00\u2028"]
)
def test_any_text_that_was_read_can_be_written(text: str) -> None:
    """Half a surrogate pair too: an unknown field must not cost a new token."""
    document = auth_json.decode(json.dumps(login() | {"note": text}).encode())
    content = auth_json.encode(document)
    assert auth_json.decode(content) == document
