"""Sign-in by browser: the page, the redirect or the pasted URL, and the exchange."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from bearerd.credential.authority.browser_flow import sign_in_by_browser
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import SignInFailed
from bearerd.credential.token import Credential
from bearerd.errors import StartError
from bearerd.sandbox import AuthorityFault, Sandbox
from tests.credential.authority.conftest import CHOSEN
from tests.credential.stand_ins import soon


class Person:
    """The person at the terminal, controlled by a test.

    `pages` fills with the pages that are shown; what is put into `typed` is typed in.
    """

    def __init__(self) -> None:
        self.pages: asyncio.Queue[str] = asyncio.Queue()
        self.typed: asyncio.Queue[str] = asyncio.Queue()
        self.mismatches: list[str] = []

    async def lines(self) -> AsyncIterator[str]:
        while True:
            yield await self.typed.get()

    def sign_in(
        self, client: AuthorityClient, *ports: int, timeout_seconds: float = 60
    ) -> asyncio.Task[Credential]:
        return asyncio.create_task(
            sign_in_by_browser(
                client,
                show_page=self.pages.put_nowait,
                pasted_lines=self.lines(),
                on_mismatch=self.mismatches.append,
                ports=ports or (0,),
                timeout_seconds=timeout_seconds,
            )
        )


async def test_a_browser_signs_in_and_comes_back(
    client: AuthorityClient, session: aiohttp.ClientSession
) -> None:
    """The page redirects to our listener with a code, which is exchanged."""
    person = Person()
    signing_in = person.sign_in(client)
    async with session.get(await person.pages.get()) as response:
        assert response.status == 200
    credential = await soon(signing_in)
    assert (credential.account_id, credential.user_id) == (CHOSEN, f"user-{CHOSEN}")
    assert credential.refresh_token
    assert credential.id_token
    assert credential.expires_at is not None
    assert person.pages.empty()


async def test_the_url_of_another_machines_browser_can_be_pasted(
    client: AuthorityClient, session: aiohttp.ClientSession
) -> None:
    """Lines that are not that URL are reported, and the wait continues."""
    person = Person()
    signing_in = person.sign_in(client)
    page = await person.pages.get()
    async with session.get(page, allow_redirects=False) as response:
        url = response.headers["Location"]
    for line in ("", "what?", "http://localhost/auth/callback?code=x&state=y", url):
        person.typed.put_nowait(f"{line}\n")
    assert (await soon(signing_in)).account_id == CHOSEN
    assert len(person.mismatches) == 2


async def test_a_pasted_url_may_carry_the_authoritys_refusal(
    sandbox: Sandbox, client: AuthorityClient, session: aiohttp.ClientSession
) -> None:
    """It ends the sign-in as the redirect itself would."""
    sandbox.authority.sign_in.declines = True
    person = Person()
    signing_in = person.sign_in(client)
    page = await person.pages.get()
    async with session.get(page, allow_redirects=False) as response:
        person.typed.put_nowait(response.headers["Location"])
    with pytest.raises(SignInFailed, match="access_denied"):
        await soon(signing_in)


async def test_a_person_who_declines_ends_it(
    sandbox: Sandbox, client: AuthorityClient, session: aiohttp.ClientSession
) -> None:
    """The reason is on the page, and in the terminal."""
    sandbox.authority.sign_in.declines = True
    person = Person()
    signing_in = person.sign_in(client)
    async with session.get(await person.pages.get()) as response:
        assert response.status == 403
        assert "access_denied" in await response.text()
    with pytest.raises(SignInFailed, match=r"access_denied Declined\."):
        await soon(signing_in)


async def test_a_sign_in_without_a_free_port_does_not_start(
    client: AuthorityClient,
) -> None:
    """No page is shown that could not come back."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        person = Person()
        with pytest.raises(StartError, match=f"{port} of 127.0.0.1"):
            await person.sign_in(client, port)
    assert person.pages.empty()


async def test_a_sign_in_ends_when_its_time_is_over(client: AuthorityClient) -> None:
    """At once here; after 15 minutes otherwise."""
    person = Person()
    with pytest.raises(SignInFailed, match="sign-in was not completed within"):
        await person.sign_in(client, timeout_seconds=0)


async def test_a_cancelled_sign_in_frees_its_port(client: AuthorityClient) -> None:
    """As Ctrl-C does it, in the middle of the wait."""
    person = Person()
    signing_in = person.sign_in(client)
    (redirect_uri,) = parse_qs(urlsplit(await person.pages.get()).query)["redirect_uri"]
    port = urlsplit(redirect_uri).port
    signing_in.cancel()
    with pytest.raises(asyncio.CancelledError):
        await signing_in
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_code_that_is_not_exchanged_is_a_failure(
    sandbox: Sandbox, client: AuthorityClient, session: aiohttp.ClientSession
) -> None:
    """The status is shown, and nothing of the body."""
    sandbox.authority.fault(
        AuthorityFault("answer", status=500, body="<html>secret</html>")
    )
    person = Person()
    signing_in = person.sign_in(client)
    async with session.get(await person.pages.get()) as response:
        await response.read()
    with pytest.raises(SignInFailed, match="status 500") as raised:
        await soon(signing_in)
    assert "secret" not in raised.value.message
