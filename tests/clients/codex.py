"""Codex CLI with a home of its own, set up as a user of bearerd would.

Two ways: a provider of its own, with the client key as API key, which is what bearerd
recommends; and as if signed in to ChatGPT, with a login that holds the client key in
place of an access token.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bearerd.credential.token import AUTH_CLAIM
from tests.clients.agent import Agent
from tests.support import Finished, write_login
from tests.support.login import bare_jwt, timestamp

QUIET = """
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
apps = false
"""
"""What a Codex needs to hear to call no other host on its own account."""

OWN_PROVIDER = """
model = "gpt-5.5"
model_provider = "bearerd"
{quiet}
[model_providers.bearerd]
name = "bearerd"
base_url = "{base_url}/backend-api/codex"
wire_api = "responses"
env_key = "BEARERD_CLIENT_KEY"
supports_websockets = {websockets}
"""

CHATGPT = """
model = "gpt-5.5"
openai_base_url = "http://127.0.0.1:{port}/backend-api/codex"
chatgpt_base_url = "http://localhost:{port}/backend-api"
{quiet}
"""
"""Two names of one address: were the origins the same, Codex would go on with its own
token to the origin that accounts/check names."""


class Codex:
    """One installation of Codex and one home. Owns the files in it."""

    def __init__(self, command: Path, agent: Agent) -> None:
        self._command = command
        self._agent = agent
        self._home = agent.home
        self._environ = {"CODEX_HOME": str(self._home)}

    @property
    def login_file(self) -> Path:
        """Where it keeps its login, if it has one."""
        return self._home / "auth.json"

    def use_key(
        self,
        base_url: str,
        key: str,
        *,
        websockets: bool = False,
        is_quiet: bool = True,
    ) -> None:
        """Let it reach *base_url* as a provider of its own, by *key*."""
        config = OWN_PROVIDER.format(
            base_url=base_url,
            websockets=str(websockets).lower(),
            quiet=QUIET if is_quiet else "",
        )
        self._configure(config)
        self._environ["BEARERD_CLIENT_KEY"] = key

    def sign_in(self, port: int, key: str, account_id: str, token_url: str) -> None:
        """Let it believe that it is signed in to ChatGPT, with *key* as access token.

        Should it want a refresh, it asks *token_url*, where that can be seen.
        """
        self._configure(CHATGPT.format(port=port, quiet=QUIET))
        self._environ["CODEX_REFRESH_TOKEN_URL_OVERRIDE"] = token_url
        claims = {AUTH_CLAIM: {"chatgpt_account_id": account_id}}
        login = {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {
                "id_token": bare_jwt(claims),
                "access_token": key,
                "refresh_token": "",
                "account_id": account_id,
            },
            "last_refresh": timestamp(datetime.now(UTC).timestamp()),
        }
        write_login(self.login_file, login)

    async def say(self, words: str = "say hello") -> Finished:
        """Run one turn without a terminal."""
        return await self._agent.run(
            self._command,
            "exec",
            "--skip-git-repo-check",
            "--color",
            "never",
            words,
            **self._environ,
        )

    def _configure(self, text: str) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "config.toml").write_text(text, encoding="utf-8")
