"""Credential files as another program would write them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def write_login(path: Path, document: Mapping[str, object]) -> None:
    """Replace the file whole, as a careful writer does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".written")
    temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")
    temporary.replace(path)


def read_login(path: Path) -> dict[str, Any]:
    """Return the document in the file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def tokens_of(document: Mapping[str, object]) -> dict[str, Any]:
    """Return the tokens of a document."""
    tokens = document["tokens"]
    assert isinstance(tokens, dict)
    return tokens


def opaque_login(
    refresh_token: str,
    *,
    signed_in_at: float,
    account_id: str | None,
    access_token: str = "opaque-access-1",
) -> dict[str, object]:
    """Return a login whose access token is no JWT and whose id token names nobody."""
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": bare_jwt({"sub": "somebody"}),
            "access_token": access_token,
            "refresh_token": refresh_token,
            "account_id": account_id,
        },
        "last_refresh": timestamp(signed_in_at),
    }


def bare_jwt(claims: Mapping[str, object]) -> str:
    """Return an unsigned token with these claims."""
    parts = (b'{"alg":"none","typ":"JWT"}', json.dumps(claims).encode(), b"unsigned")
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts
    )


def timestamp(epoch_seconds: float) -> str:
    """Return a moment as Codex writes it."""
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
