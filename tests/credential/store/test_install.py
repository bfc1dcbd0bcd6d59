"""Signing in by browser and by device code, and what that does to a store."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from bearerd.clock import Clock
from bearerd.credential.authority.browser_flow import sign_in_by_browser
from bearerd.credential.authority.client import (
    AuthorityUnreached,
    DeviceAuthorization,
    SignInAuthority,
)
from bearerd.credential.authority.device_flow import FAILURES, sign_in_by_device
from bearerd.credential.authority.pkce import (
    AuthorizationRequest,
    SignInFailed,
    StateMismatch,
    query_of,
)
from bearerd.credential.store.codex_home import codex_file, sharing
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.install import install_login, prepare, remove_login
from bearerd.credential.store.state import Account, RefusedToken, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import StartError, StoreError
from bearerd.sandbox import Account as SandboxAccount
from bearerd.sandbox import AuthorityFault, Sandbox
from tests.support import read_login, write_login

CLIENT_ID = "app_sandbox"
CHOSEN = "acct-chosen"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox at which one chosen account signs in."""
    async with Sandbox() as running:
        running.authority.sign_in.account = SandboxAccount(CHOSEN)
        yield running


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that leaves before the sandbox stops."""
    assert sandbox.issuer_url
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def authority(sandbox: Sandbox, http: aiohttp.ClientSession) -> SignInAuthority:
    """The sandbox, as somebody who signs in sees it."""
    return SignInAuthority(
        http,
        issuer_url=sandbox.issuer_url,
        token_url=sandbox.token_url,
        client_id=CLIENT_ID,
    )


class Person:
    """Somebody who is shown a page, and does with it what a test says.

    `pages` fills as pages are shown; what is put into `typed` is typed in here.
    """

    def __init__(self) -> None:
        self.pages: asyncio.Queue[str] = asyncio.Queue()
        self.typed: asyncio.Queue[str | None] = asyncio.Queue()
        self.told: list[str] = []

    async def lines(self) -> AsyncIterator[str]:
        while (line := await self.typed.get()) is not None:
            yield line

    def sign_in(
        self, authority: SignInAuthority, *ports: int, patience_seconds: float = 60
    ) -> asyncio.Task[Credential]:
        return asyncio.create_task(
            sign_in_by_browser(
                authority,
                show=self.pages.put_nowait,
                pasted=self.lines(),
                unfit=self.told.append,
                ports=ports or (0,),
                patience_seconds=patience_seconds,
            )
        )


async def given_up(signing_in: asyncio.Task[Credential]) -> None:
    """Leave the sign-in, as Ctrl-C does."""
    signing_in.cancel()
    with pytest.raises(asyncio.CancelledError):
        await signing_in


def whole(credential: Credential) -> bool:
    """Say whether it is a login of the chosen account, with all its tokens."""
    return (
        credential.account_id == CHOSEN
        and credential.user_id == f"user-{CHOSEN}"
        and bool(credential.refresh_token and credential.id_token)
        and credential.expires_at is not None
    )


# By browser.


async def test_a_browser_signs_in_and_comes_back(
    authority: SignInAuthority, http: aiohttp.ClientSession
) -> None:
    """The page sends the browser to our listener with a code, which is redeemed."""
    person = Person()
    signing_in = person.sign_in(authority)
    async with http.get(await person.pages.get()) as response:
        assert response.status == 200
        assert "no-store" in response.headers["Cache-Control"]
        assert "close this page" in await response.text()
    assert whole(await signing_in)


async def test_the_page_asks_for_all_that_codex_asks_for(
    authority: SignInAuthority,
) -> None:
    """With a proof key by S256, and a redirect to loopback by its registered name."""
    person = Person()
    signing_in = person.sign_in(authority)
    asked = parse_qs(urlsplit(await person.pages.get()).query)
    await given_up(signing_in)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["client_id"] == [CLIENT_ID]
    assert "offline_access" in asked["scope"][0]
    assert asked["redirect_uri"][0].startswith("http://localhost:")
    assert asked["redirect_uri"][0].endswith("/auth/callback")
    assert len(asked["state"][0]) >= 43


async def test_the_address_of_another_machines_browser_can_be_pasted(
    authority: SignInAuthority, http: aiohttp.ClientSession
) -> None:
    """What is not that address is turned away, and the wait goes on."""
    person = Person()
    signing_in = person.sign_in(authority)
    page = await person.pages.get()
    async with http.get(page, allow_redirects=False) as response:
        address = response.headers["Location"]
    for line in ("", "what?", "http://localhost/auth/callback?code=x&state=y", address):
        person.typed.put_nowait(f"{line}\n")
    assert whole(await signing_in)
    assert len(person.told) == 2


async def test_a_strangers_response_does_not_count(
    authority: SignInAuthority, http: aiohttp.ClientSession
) -> None:
    """Another state is a 400, and the right response is taken afterwards."""
    person = Person()
    signing_in = person.sign_in(authority)
    page = await person.pages.get()
    redirect_uri = parse_qs(urlsplit(page).query)["redirect_uri"][0]
    async with http.get(redirect_uri, params={"code": "x", "state": "y"}) as response:
        assert response.status == 400
        assert "State mismatch" in await response.text()
    async with http.get(redirect_uri.replace("/auth/callback", "/other")) as response:
        assert response.status == 404
    async with http.get(page) as response:
        assert response.status == 200
    assert whole(await signing_in)


async def test_a_person_who_declines_ends_it(
    sandbox: Sandbox, authority: SignInAuthority, http: aiohttp.ClientSession
) -> None:
    """The reason is told on the page, and in the terminal."""
    sandbox.authority.sign_in.declines = True
    person = Person()
    signing_in = person.sign_in(authority)
    async with http.get(await person.pages.get()) as response:
        assert response.status == 403
        assert "access_denied" in await response.text()
    with pytest.raises(SignInFailed, match=r"access_denied Declined\."):
        await signing_in


async def test_another_sign_in_may_ask_for_the_port(
    authority: SignInAuthority, http: aiohttp.ClientSession
) -> None:
    """As Codex does; a sign-in that is forgotten somewhere must not block it."""
    person = Person()
    signing_in = person.sign_in(authority)
    redirect_uri = parse_qs(urlsplit(await person.pages.get()).query)["redirect_uri"]
    async with http.get(
        redirect_uri[0].replace("/auth/callback", "/cancel")
    ) as response:
        assert response.status == 200
    with pytest.raises(SignInFailed, match="another sign-in"):
        await signing_in


async def test_the_second_port_is_taken_when_the_first_is_not_free(
    authority: SignInAuthority,
) -> None:
    """And when none is free, both are named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        person = Person()
        signing_in = person.sign_in(authority, port, 0)
        assert f"localhost%3A{port}" not in await person.pages.get()
        await given_up(signing_in)
        with pytest.raises(StartError, match=f"{port} of 127.0.0.1"):
            await person.sign_in(authority, port)


async def test_nobody_is_waited_for_forever(authority: SignInAuthority) -> None:
    """The patience is over at once here."""
    person = Person()
    with pytest.raises(SignInFailed, match="nobody signed in"):
        await person.sign_in(authority, patience_seconds=0)


async def test_a_code_that_is_not_redeemed_is_a_failure(
    sandbox: Sandbox, authority: SignInAuthority, http: aiohttp.ClientSession
) -> None:
    """The authority's status is told, and none of what it said."""
    sandbox.authority.fault(
        AuthorityFault("answer", status=500, body="<html>secret</html>")
    )
    person = Person()
    signing_in = person.sign_in(authority)
    async with http.get(await person.pages.get()) as response:
        await response.read()
    with pytest.raises(SignInFailed, match="status 500") as raised:
        await signing_in
    assert "secret" not in raised.value.message


def test_a_redirect_without_a_code_is_not_ours() -> None:
    """Nor is one without a query, or with an address that is none."""
    request = AuthorizationRequest.new()
    with pytest.raises(StateMismatch):
        request.code_from({"state": request.state})
    assert query_of("http://[") == {}
    assert query_of("nothing") == {}


def test_the_challenge_is_that_of_the_standard() -> None:
    """The example of RFC 7636, appendix B."""
    request = AuthorizationRequest(
        "state", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    assert request.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert request.verifier not in repr(request)


# By device code.


def stepping(step: Callable[[int], Awaitable[None]]) -> Clock:
    """Return a clock on which a wait moves time, and calls *step* with its number."""
    seconds, waits = [1000.0], [0]

    async def sleep(duration: float) -> None:
        seconds[0] += duration
        waits[0] += 1
        await step(waits[0])

    return Clock(monotonic=lambda: seconds[0], sleep=sleep)


async def nothing(_: int) -> None:
    """Let a wait pass."""


async def test_a_device_is_let_in_once_its_code_is_typed(
    sandbox: Sandbox, authority: SignInAuthority
) -> None:
    """It asks again at the authority's interval, and says nothing secret."""
    shown: list[DeviceAuthorization] = []

    async def approve(wait: int) -> None:
        if wait == 2:
            sandbox.authority.sign_in.approve_device(shown[0].user_code)

    credential = await sign_in_by_device(
        authority, clock=stepping(approve), show=shown.append
    )
    assert whole(credential)
    assert sandbox.authority.sign_in.device_polls == 3
    assert shown[0].page == f"{sandbox.issuer_url}/codex/device"
    assert shown[0].device_auth_id not in repr(shown)


async def test_a_code_that_nobody_types_in_ends(authority: SignInAuthority) -> None:
    """After 15 minutes of the clock."""
    with pytest.raises(SignInFailed, match="15 minutes"):
        await sign_in_by_device(authority, clock=stepping(nothing), show=lambda _: None)


async def test_an_authority_without_device_codes_is_named(
    sandbox: Sandbox, authority: SignInAuthority
) -> None:
    """With the other way as the remedy."""
    sandbox.authority.sign_in.device_enabled = False
    with pytest.raises(SignInFailed, match="without --device"):
        await sign_in_by_device(authority, clock=stepping(nothing), show=lambda _: None)


async def test_a_network_that_stays_away_ends_the_polls(
    http: aiohttp.ClientSession,
) -> None:
    """After a few in a row, with a place to look for the reason."""
    waits: list[int] = []

    async def count(wait: int) -> None:
        waits.append(wait)

    async with Sandbox() as sandbox:
        authority = SignInAuthority(
            http,
            issuer_url=sandbox.issuer_url,
            token_url=sandbox.token_url,
            client_id=CLIENT_ID,
        )
        device = await authority.start_device()
    cut_off = CutOff(authority, device)
    with pytest.raises(AuthorityUnreached, match="bearerd doctor --online"):
        await sign_in_by_device(cut_off, clock=stepping(count), show=lambda _: None)
    assert waits == list(range(1, FAILURES))


class CutOff(SignInAuthority):
    """An authority that gave a device code, and is gone since."""

    def __init__(self, gone: SignInAuthority, device: DeviceAuthorization) -> None:
        self.__dict__.update(gone.__dict__)
        self._device = device

    async def start_device(self) -> DeviceAuthorization:
        return self._device


# Into the store, and out of it.


def login_of(sandbox: Sandbox, account: str = CHOSEN) -> Credential:
    """Return a new login."""
    grant = sandbox.tokens.sign_in(SandboxAccount(account))
    return Credential(
        access_token=grant.access_token,
        refresh_token=grant.refresh_token,
        id_token=grant.id_token,
        account_id=account,
        user_id=f"user-{account}",
    )


async def install(path: Path, credential: Credential) -> Credential | None:
    """Keep *credential* at *path*."""
    return await install_login(path, credential, clock=Clock(), lock_timeout_seconds=0)


async def test_a_login_is_kept_as_codex_has_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Whole, private, in a folder that was not there; and the profile is the account's."""
    path = tmp_path / "new" / "auth.json"
    credential = login_of(sandbox)
    assert await install(path, credential) is None
    document = read_login(path)
    assert set(document) == {"auth_mode", "OPENAI_API_KEY", "tokens", "last_refresh"}
    assert document["auth_mode"] == "chatgpt"
    assert document["tokens"] == {
        "id_token": credential.id_token,
        "access_token": credential.access_token,
        "refresh_token": credential.refresh_token,
        "account_id": CHOSEN,
    }
    assert path.stat().st_mode & 0o777 == 0o600
    store = FileStore(path, clock=Clock())
    assert await store.load() == credential
    assert store.read_state() == StoreState(account=Account(CHOSEN, f"user-{CHOSEN}"))


async def test_signing_in_changes_the_owner_and_forgets_the_rest(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Refusals, budget and an API key belonged to the login that was there."""
    path = tmp_path / "auth.json"
    before = sandbox.auth_document("acct-before") | {"OPENAI_API_KEY": "made-up"}
    write_login(path, before)
    store = FileStore(path, clock=Clock())
    old = await store.load()
    store.write_state(
        StoreState(Account("acct-before"), RefusedToken(old.fingerprint, "reused"))
    )
    assert await install(path, login_of(sandbox)) == old
    assert store.read_state() == StoreState(account=Account(CHOSEN, f"user-{CHOSEN}"))
    assert read_login(path)["OPENAI_API_KEY"] is None


async def test_a_broken_file_is_no_obstacle(sandbox: Sandbox, tmp_path: Path) -> None:
    """To sign in is the remedy for it."""
    path = tmp_path / "auth.json"
    path.write_text("{broken", encoding="utf-8")
    assert await install(path, login_of(sandbox)) is None
    assert (await FileStore(path, clock=Clock()).load()).account_id == CHOSEN


async def test_a_refresh_under_way_is_waited_for(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """And nothing is written if it does not let go."""
    path = tmp_path / "auth.json"
    async with FileStore(path, clock=Clock()).lock(0):
        with pytest.raises(StoreError, match="has held this lock"):
            await install(path, login_of(sandbox))
    assert not path.exists()


async def test_a_place_that_is_none_is_found_before_anybody_signs_in(
    tmp_path: Path,
) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "folder").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        await prepare(tmp_path / "folder" / "auth.json", clock=Clock())


async def test_a_login_is_revoked_and_removed(
    sandbox: Sandbox, authority: SignInAuthority, tmp_path: Path
) -> None:
    """By its refresh token, and only once."""
    path = tmp_path / "auth.json"
    credential = login_of(sandbox)
    await install(path, credential)

    async def remove() -> bool:
        return await remove_login(
            path, clock=Clock(), lock_timeout_seconds=0, revoke=authority.revoke
        )

    assert await remove()
    assert not path.exists()
    assert sandbox.tokens.introspect(credential.access_token).state == "invalidated"
    assert not await remove()
    assert len(sandbox.authority.revoked_fingerprints) == 1


async def test_what_cannot_be_read_is_removed_all_the_same(tmp_path: Path) -> None:
    """There is nothing to revoke in it."""
    path = tmp_path / "auth.json"
    path.write_text("{broken", encoding="utf-8")
    revoked: list[Credential] = []

    async def revoke(credential: Credential) -> None:
        revoked.append(credential)

    assert await remove_login(
        path, clock=Clock(), lock_timeout_seconds=0, revoke=revoke
    )
    assert not path.exists()
    assert revoked == []


async def test_an_authority_that_refuses_to_revoke_says_so(
    sandbox: Sandbox, authority: SignInAuthority
) -> None:
    """Whoever asked decides what that means."""
    fault = AuthorityFault("answer", status=503, body="{}", path="/oauth/revoke")
    sandbox.authority.fault(fault)
    with pytest.raises(SignInFailed, match="503"):
        await authority.revoke(login_of(sandbox))


async def test_a_login_without_a_refresh_token_is_revoked_by_the_other(
    sandbox: Sandbox, authority: SignInAuthority
) -> None:
    """The access token is all there is."""
    signed_in = login_of(sandbox)
    await authority.revoke(Credential(signed_in.access_token, ""))
    assert sandbox.tokens.introspect(signed_in.access_token).state == "invalidated"


# Codex's own login.


async def test_a_copy_of_codex_login_is_known_by_its_refresh_token(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The same file is another thing, and so is another login."""
    codex = tmp_path / "codex" / "auth.json"
    mine = tmp_path / "auth.json"
    document = sandbox.auth_document()
    write_login(codex, document)
    write_login(mine, document)
    held = await FileStore(mine, clock=Clock()).load()
    assert sharing(mine, held, codex) == "copy"
    assert sharing(codex, held, codex) == "same_file"
    assert sharing(mine, login_of(sandbox), codex) == "none"
    assert sharing(mine, None, codex) == "none"
    codex.write_text(json.dumps({"OPENAI_API_KEY": "made-up"}), encoding="utf-8")
    assert sharing(mine, held, codex) == "none"


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        (None, "/me/.codex/auth.json"),
        ("", "/me/.codex/auth.json"),
        ("/c", "/c/auth.json"),
    ],
)
def test_codex_home_is_where_its_variable_says(variable: str | None, path: str) -> None:
    """An empty variable counts as none."""
    assert codex_file(variable, Path("/me")) == Path(path)
