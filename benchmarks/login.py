"""A made-up login: what the daemon holds, what agents show, what the upstream wants."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from bearerd.keys.shape import mint
from bearerd.sandbox.authority.jwt import mint_jwt

LIFETIME_SECONDS = 10 * 86400
"""As long as real access tokens live: far enough away that nothing is refreshed."""

PADDING = "x" * 900
"""Brings the token to the length of a real one, some 1.5 KB."""


@dataclass(frozen=True, slots=True)
class Login:
    """One access token, one client key."""

    access_token: str
    client_key: str

    @classmethod
    def make(cls) -> Login:
        """Return a new one."""
        claims = {
            "exp": int(time.time()) + LIFETIME_SECONDS,
            "https://api.openai.com/auth": {"chatgpt_account_id": "account-bench"},
            "padding": PADDING,
        }
        return cls(access_token=mint_jwt(claims), client_key=mint("bench"))

    def write(self, path: Path) -> None:
        """Write it as Codex's `auth.json`."""
        document = {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {
                "id_token": self.access_token,
                "access_token": self.access_token,
                "refresh_token": "refresh-token-that-nobody-takes",
                "account_id": "account-bench",
            },
            "last_refresh": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
