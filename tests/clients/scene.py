"""Where an agent acts: a bearerd before a sandbox, and a snare beside the way.

Knows what a run proves, read off the sandbox's records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bearerd.sandbox import Sandbox
from bearerd.sandbox.sandbox import FIRST_ACCOUNT
from tests.clients.snare import Snare
from tests.support import ServeProcess

RESPONSES = "/backend-api/codex/responses"


class Open(Protocol):
    """Opens a scene that ends with the test; its login is a new one by default."""

    async def __call__(self, *, login: Mapping[str, object] | None = None) -> Scene: ...


@dataclass(frozen=True, slots=True)
class Scene:
    """All that an agent can reach, each with its own records; *store* is bearerd's."""

    sandbox: Sandbox
    served: ServeProcess
    snare: Snare
    store: Path

    @property
    def url(self) -> str:
        """Return where bearerd listens."""
        return self.served.client.base_url

    @property
    def key(self) -> str:
        """Return the one client key that is good there."""
        return self.served.client.key

    def statuses(self, path: str = RESPONSES) -> list[int | None]:
        """Return how the requests to *path* were answered, in order."""
        records = self.sandbox.upstream.records
        return [record.status for record in records if record.raw_path == path]

    def assert_only_our_token_travelled(self) -> None:
        """Fail unless every request was signed by bearerd, and none has the client key.

        Nor may the agent have wanted to talk to any other host.
        """
        records = self.sandbox.upstream.records
        assert records
        key = self.key.encode()
        for record in records:
            (signature,) = record.header(b"authorization")
            access_token = signature.decode().removeprefix("Bearer ")
            assert self.sandbox.tokens.introspect(access_token).state != "unknown", (
                record
            )
            assert record.header(b"chatgpt-account-id") == [FIRST_ACCOUNT.encode()]
            assert all(key not in value for _, value in record.raw_headers), record
            assert self.key not in record.raw_path, record
        assert self.snare.caught == []

    def assert_one_refresh(self) -> None:
        """Fail unless the authority was called once, and gave a new login."""
        authority = self.sandbox.authority
        assert [call.outcome for call in authority.records] == ["rotated"]
        assert (authority.refreshes, authority.reused) == (1, 0)
