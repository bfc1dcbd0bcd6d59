"""Refreshes under faults at an authority that revokes a family for one reuse.

Three owners of one file refresh at once, again and again, and one of them is replaced by
a newcomer each few rounds. What goes wrong is on the way to the authority, so that no
response is lost that was given: that window is shown elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bearerd.builders import authority_client, build_source, file_store, tls_context
from bearerd.clock import Clock
from bearerd.credential.source import CredentialSource
from bearerd.errors import AuthorityUnavailable, StoreUnavailable
from bearerd.events import Event, LoginNeeded
from bearerd.settings import Settings, load_settings
from tests.chaos.foreign_authority import ForeignAuthority, foreign_authority
from tests.chaos.report import Report
from tests.chaos.scale import Scale
from tests.support import opaque_login, read_login, tokens_of, write_login
from tests.support.daemon import empty_config

FAULTS = 0.3
SEED = 20_260
NEWCOMER_EACH = 10
LOCK_SECONDS = 30.0


class Impatient:
    """A clock by which pauses need not be waited for in real time."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self.clock = Clock(now=self.now, monotonic=self.monotonic)

    def now(self) -> float:
        """Return the time by which the pauses of other owners are judged."""
        return time.time() + self._ahead

    def monotonic(self) -> float:
        """Return the time by which an owner's own pauses are judged."""
        return time.monotonic() + self._ahead

    def skip(self, seconds: float) -> None:
        """Let that much of it pass."""
        self._ahead += seconds


class Owners:
    """Some owners of one file. Owns what they announced, and how often they waited."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._time = Impatient()
        self.events: list[Event] = []
        self.unavailable = 0
        self.locked = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[CredentialSource]:
        """Give an owner that has started."""
        profile = self._settings.profile("default")
        tls = tls_context(self._settings)
        async with authority_client(self._settings, profile, tls) as client:
            source = build_source(
                profile,
                file_store(profile, self._time.clock),
                client,
                self._time.clock,
                self.events.append,
            )
            await source.start()
            try:
                yield source
            finally:
                await source.close()

    async def refresh(self, source: CredentialSource) -> None:
        """Refresh until that has worked, or another owner has done it."""
        held = await source.current()
        source.record_acceptance(held)  # by the upstream, which there is none of here
        while True:
            try:
                await source.refresh(held, "refused")
            except AuthorityUnavailable:
                self.unavailable += 1
                self._time.skip(70.0)
            except StoreUnavailable:
                # Its wait ended when another owner skipped a pause. It waits in real time.
                self.locked += 1
                profile = self._settings.profile("default")
                async with file_store(profile, Clock()).lock(LOCK_SECONDS):
                    continue
            else:
                return


def settings_for(authority: ForeignAuthority, store: Path) -> Settings:
    """Return the settings of all owners."""
    given = {
        "store": str(store),
        "issuer_url": authority.url,
        "client_id": authority.client_id,
        "refresh_burst": "1000",
        "refresh_interval_seconds": "0.01",
    }
    return load_settings(given, environ={}, config=empty_config(store.parent))


async def test_no_family_is_lost_at_a_foreign_authority(
    tmp_path: Path, scale: Scale, report: Report
) -> None:
    """It has revoked nothing in the end, and its last token is the one that we have."""
    store = tmp_path / "auth.json"
    async with foreign_authority(faults=FAULTS, seed=SEED) as authority:
        login = await authority.login()
        write_login(
            store,
            opaque_login(
                login["refresh_token"],
                signed_in_at=time.time(),
                account_id=login["account_id"],
            ),
        )
        owners = Owners(settings_for(authority, store))
        rounds = 0
        found = await authority.report()
        while found["rotations"] < scale.foreign_refreshes:
            await some_rounds(owners)
            rounds += NEWCOMER_EACH
            found = await authority.report()
        stored = tokens_of(read_login(store))
        report.table(
            "oidc-provider, three owners under faults",
            ("what", "count"),
            [
                ("calls", found["calls"]),
                ("rotations", found["rotations"]),
                *(
                    (f"calls that went wrong: {k}", n)
                    for k, n in found["faults"].items()
                ),
                ("times an owner had to wait", owners.unavailable),
                ("times the lock was held for too long", owners.locked),
                ("families lost", found["revoked"]),
            ],
        )
        assert (found["revoked"], found["families"]) == (0, 1)
        assert sum(found["faults"].values()) > scale.foreign_refreshes * FAULTS / 2
        assert [it for it in owners.events if isinstance(it, LoginNeeded)] == []
        assert rounds <= found["rotations"] <= found["calls"]
        assert stored["account_id"] == login["account_id"]
        assert stored["refresh_token"] != login["refresh_token"]


async def some_rounds(owners: Owners) -> None:
    """Let all owners meet a 401 at once, some times; then they leave."""
    async with owners.one() as one, owners.one() as two, owners.one() as three:
        for _ in range(NEWCOMER_EACH):
            await asyncio.gather(*map(owners.refresh, (one, two, three)))
