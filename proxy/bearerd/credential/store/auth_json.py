"""The JSON inside `auth.json`: what it means, and how it looks after a refresh. Pure.

Source: `AuthDotJson` and `TokenData` in codex-rs (login/src/auth/storage.rs,
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
    user_claim,
)
from bearerd.json_object import load_json

Document: TypeAlias = dict[str, Any]


class InvalidDocument(ValueError):
    """The content is no login. The message says why, and quotes nothing of it."""


def decode(content: bytes) -> Document:
    """Return the JSON object in *content*.

    Raises:
        NotUnderstood: it is torn, empty, or something else.
    """
    try:
        document = load_json(content)
    except ValueError:
        raise InvalidDocument("it is not valid JSON") from None
    if not isinstance(document, dict):
        raise InvalidDocument("it is not a JSON object")
    return document


def credential(document: Document) -> Credential:
    """Return the ChatGPT login in *document*.

    `tokens.account_id` is the account; where it is null the id token's claim is.

    Raises:
        NotUnderstood: it holds an API key or no tokens at all.
    """
    tokens = document.get("tokens")
    if not isinstance(tokens, dict):
        raise InvalidDocument("it holds no ChatGPT tokens")
    access_token, refresh_token = (
        tokens.get("access_token"),
        tokens.get("refresh_token"),
    )
    if not isinstance(access_token, str) or not access_token:
        raise InvalidDocument("it holds no access token")
    id_token, account_id = tokens.get("id_token"), tokens.get("account_id")
    id_token = id_token if isinstance(id_token, str) else None
    return Credential(
        access_token=access_token,
        refresh_token=refresh_token if isinstance(refresh_token, str) else "",
        account_id=(account_id if isinstance(account_id, str) else None)
        or account_claim(id_token)
        or account_claim(access_token),
        user_id=user_claim(id_token) or user_claim(access_token),
        id_token=id_token,
        expires_at=expiry(access_token, _timestamp(document.get("last_refresh"))),
    )


def renewed(document: Document, new: Credential, now: float) -> Document:
    """Return *document* with the tokens of *new*; all else stays.

    An id token that Codex could not decode would make it reject the whole file, so such
    a one never replaces the old.
    """
    tokens = dict(document.get("tokens") or {})
    tokens |= {"access_token": new.access_token, "refresh_token": new.refresh_token}
    if claims(new.id_token):
        tokens["id_token"] = new.id_token
    tokens.setdefault("account_id", new.account_id)
    # Without the mode, Codex takes a file with an API key for an API-key login.
    base = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None} | document
    base["auth_mode"] = base["auth_mode"] or "chatgpt"
    last_refresh = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    return base | {"tokens": tokens, "last_refresh": last_refresh}


def encode(document: Document) -> bytes:
    """Return *document* as Codex writes it: pretty, two spaces, UTF-8."""
    try:
        return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair can only be written escaped
        return json.dumps(document, indent=2).encode() + b"\n"


def _timestamp(value: object) -> datetime | None:
    """Return an RFC 3339 timestamp, which Codex writes with nanoseconds, or None."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
