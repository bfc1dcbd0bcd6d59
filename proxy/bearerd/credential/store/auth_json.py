"""The JSON in `auth.json`: parse a login, and write one after a refresh. Pure.

Sources: `AuthDotJson` and `TokenData` in codex-rs (login/src/auth/storage.rs,
login/src/token_data.rs).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, TypeAlias

from bearerd.credential.token import (
    Credential,
    account_claim,
    claims,
    expiry,
    is_of_one_account,
    user_claim,
    visible_text,
)
from bearerd.json_object import load_json

Document: TypeAlias = dict[str, Any]

CHATGPT_MODES = (None, "chatgpt")
"""`AuthMode` has seven other values, such as `apikey`, for other kinds of login. Their
file can still contain the tokens of an earlier ChatGPT login."""


class InvalidDocument(ValueError):
    """The content is not a ChatGPT login. The message contains none of the content.

    *is_torn*: it is not a complete JSON object, as after an interrupted write. Otherwise
    it is complete and contains no such login, which may be intended.
    """

    def __init__(self, message: str, *, is_torn: bool = False) -> None:
        super().__init__(message)
        self.is_torn = is_torn


def decode(content: bytes) -> Document:
    """Return the JSON object in *content*.

    Raises:
        InvalidDocument: it is torn, empty, or not a JSON object.
    """
    try:
        document = load_json(content)
    except ValueError:
        raise InvalidDocument("it is not valid JSON", is_torn=True) from None
    if not isinstance(document, dict):
        raise InvalidDocument("it is not a JSON object", is_torn=True)
    return document


def credential(document: Document) -> Credential:
    """Return the ChatGPT login in *document*.

    The account is `tokens.account_id` or, if that is null, the claim of the id token.

    Raises:
        InvalidDocument: it holds another kind of login, or no usable tokens.
    """
    mode = document.get("auth_mode")
    if mode not in CHATGPT_MODES:
        shown = visible_text(mode) or "unknown"
        raise InvalidDocument(
            f"it holds a login with auth_mode {shown[:40]}, not a ChatGPT login"
        )
    tokens = document.get("tokens")
    if not isinstance(tokens, dict):
        kind = "an API key and " if document.get("OPENAI_API_KEY") else ""
        raise InvalidDocument(f"it holds {kind}no ChatGPT tokens")
    access_token = visible_text(tokens.get("access_token"))
    if access_token is None:
        raise InvalidDocument("its access token is missing or not visible ASCII")
    id_token = tokens.get("id_token")
    id_token = id_token if isinstance(id_token, str) else None
    is_same_account = is_of_one_account(access_token, id_token)
    refreshed_at = _timestamp(document.get("last_refresh"))
    return Credential(
        access_token=access_token,
        refresh_token=visible_text(tokens.get("refresh_token")) or "",
        account_id=visible_text(tokens.get("account_id"))
        or account_claim(id_token)
        or account_claim(access_token),
        user_id=(user_claim(id_token) if is_same_account else None)
        or user_claim(access_token),
        id_token=id_token,
        expires_at=expiry(access_token, refreshed_at),
        refreshed_at=refreshed_at.timestamp() if refreshed_at else None,
    )


def with_tokens(document: Document, new: Credential, now: float) -> Document:
    """Return *document* with the tokens of *new*; every other field is unchanged.

    Codex rejects a file whose id token it cannot decode, so such an id token does not
    replace the old one.
    """
    tokens = dict(document.get("tokens") or {})
    tokens |= {"access_token": new.access_token, "refresh_token": new.refresh_token}
    if claims(new.id_token):
        tokens["id_token"] = new.id_token
    if new.account_id is not None or "account_id" not in tokens:
        tokens["account_id"] = new.account_id  # another account after `bearerd adopt`
    # Without `auth_mode`, Codex treats a file with an API key as an API-key login.
    base = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None} | document
    base["auth_mode"] = base["auth_mode"] or "chatgpt"
    return base | {"tokens": tokens, "last_refresh": utc_text(now)}


def encode(document: Document) -> bytes:
    """Return *document* as Codex writes it: indented by two spaces, UTF-8."""
    try:
        return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate can only be written escaped
        return json.dumps(document, indent=2).encode() + b"\n"


def utc_text(seconds: float) -> str:
    """Return epoch seconds as RFC 3339 text in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _timestamp(value: object) -> datetime | None:
    """Return an RFC 3339 timestamp, which Codex writes with nanoseconds, or None."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
