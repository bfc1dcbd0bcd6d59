"""Builds the parts of a profile from settings, for the daemon and for commands."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from bearerd import __version__
from bearerd.address import Address, is_loopback_host
from bearerd.clock import Clock
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.refresh_grant import RefreshGrant
from bearerd.credential.authority.single_use import open_session
from bearerd.credential.cached import CachedCredential
from bearerd.credential.refresh.limiter import RefreshLimiter
from bearerd.credential.refresh.limits import TokenEndpoint
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import this_process
from bearerd.errors import ConfigurationError
from bearerd.events import LockWaited, Observer
from bearerd.relay import access
from bearerd.relay.access import ListenerRules
from bearerd.relay.upstream.cookies import CookieJar
from bearerd.relay.upstream.dial import HttpProxy
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import UpstreamPool
from bearerd.settings import ProfileSettings, Settings
from bearerd.settings.folders import rescue_path

USER_AGENT = f"bearerd/{__version__}"
"""The User-Agent of calls to the authority: bearerd's own name, not Codex's."""

LOCK_WAIT_SHARE = 0.8
"""The wait for the lock ends before a request times out, so that the response to the
request names the process that holds the lock."""

StoreFactory: TypeAlias = Callable[[ProfileSettings, Clock], FileStore]


@asynccontextmanager
async def open_source(
    settings: Settings, profile: str, observe: Observer
) -> AsyncIterator[CredentialSource]:
    """Yield the source of *profile*, without a listener or a background refresh.

    On exit it waits for the refresh in progress.
    """
    clock = Clock()
    profile_settings = settings.profile(profile)
    store = file_store(profile_settings, clock)
    async with authority_client(
        settings, profile_settings, tls_context(settings)
    ) as client:
        source = build_source(profile_settings, store, client, clock, observe)
        await source.start()
        try:
            yield source
        finally:
            await source.close()


def file_store(profile: ProfileSettings, clock: Clock) -> FileStore:
    """Return the store of one profile, with a rescue file of its own."""
    return FileStore(profile.store, clock=clock, rescue=rescue_path(profile.store))


def build_source(
    profile: ProfileSettings,
    store: FileStore,
    client: AuthorityClient,
    clock: Clock,
    observe: Observer,
) -> CredentialSource:
    """Return the source of one profile; it owns the credential of *store*."""
    refresher = Refresher(
        store=store,
        authority=RefreshGrant(client, on_body=store.journal.spool.write),
        limiter=RefreshLimiter(
            store=store,
            bucket=TokenBucket(profile.refresh_burst, profile.refresh_interval_seconds),
            clock=clock,
            jitter=random.random,
            endpoint=TokenEndpoint(profile.token_url, profile.client_id),
        ),
        clock=clock,
        lock_timeout_seconds=profile.authority_timeout_seconds * LOCK_WAIT_SHARE,
        on_lock_acquired=lambda seconds: observe(LockWaited(profile.name, seconds)),
        presenter=this_process(),
    )
    return CredentialSource(
        profile=profile.name,
        store=store,
        refresher=refresher,
        cached=CachedCredential(
            window_seconds=profile.refresh_window_seconds,
            clock=clock,
            jitter=random.random,
        ),
        clock=clock,
        observe=observe,
        wait_timeout_seconds=profile.authority_timeout_seconds,
    )


def build_upstream(
    settings: Settings, profile: ProfileSettings, clock: Clock, tls: ssl.SSLContext
) -> UpstreamPool:
    """Return the connection pool for the upstream of one profile."""
    return UpstreamPool(
        Origin.from_url(profile.upstream_url),
        connect_timeout_seconds=settings.upstream_connect_timeout_seconds,
        idle_timeout_seconds=settings.upstream_idle_timeout_seconds,
        tls_timeout_seconds=settings.upstream_tls_timeout_seconds,
        first_byte_timeout_seconds=settings.upstream_first_byte_timeout_seconds,
        tls=tls,
        proxy=outgoing_proxy(settings),
        cookies=CookieJar(clock.monotonic),
        says_via=settings.via,
    )


def listener_rules(settings: Settings, address: Address) -> ListenerRules:
    """Return the access rules of the listener on *address*."""
    return access.listener_rules(
        is_loopback=address.is_loopback,
        is_unix=address.kind == "unix",
        require_key=settings.require_key,
        allowed_hosts=settings.allowed_hosts,
        allowed_origins=settings.allowed_origins,
    )


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context for the upstream and the authority.

    It trusts the certificates in `ca_file` or, by default, those of the system.

    Raises:
        ConfigurationError: `ca_file` contains no valid certificates. The settings check
            its first line only.
    """
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise ConfigurationError(
            f'setting ca_file = "{settings.ca_file}": its certificates cannot be read: '
            f"{error.strerror}; set it to a file of PEM certificates"
        ) from error


@asynccontextmanager
async def authority_client(
    settings: Settings, profile: ProfileSettings, tls: ssl.SSLContext
) -> AsyncIterator[AuthorityClient]:
    """Yield the client for the authority of *profile*.

    Each call has its own connection; see `authority.single_use`.
    """
    async with open_session(tls, USER_AGENT) as session:
        yield AuthorityClient(
            session,
            issuer_url=profile.issuer_url,
            token_url=profile.token_url,
            client_id=profile.client_id,
            timeout_seconds=profile.authority_timeout_seconds,
            proxy_url=settings.upstream_proxy,
        )


def require_no_loop(settings: Settings) -> None:
    """Check that no upstream is one of bearerd's own listeners.

    Raises:
        ConfigurationError: bearerd would send requests to itself, in a loop.
    """
    own_ports = {address.port for address in settings.listen if address.kind == "tcp"}
    for name, profile in settings.profiles.items():
        origin = Origin.from_url(profile.upstream_url)
        if origin.port in own_ports and is_loopback_host(origin.host):
            raise ConfigurationError(
                f"upstream_url = {profile.upstream_url} (profile {name}) is bearerd's "
                "own listener; set it to the upstream"
            )


def outgoing_proxy(settings: Settings) -> HttpProxy | None:
    """Return the proxy for outgoing connections, if `upstream_proxy` is set."""
    url = settings.upstream_proxy
    return HttpProxy.from_url(url) if url is not None else None
