"""Point 14: text that is no token, in a grant and in a file."""

from __future__ import annotations

import time

import pytest

from tests.login.lab import CLAIMS, grants, jwt
from tests.login.processes import Daemon, Reply, reached
from tests.login.world import World, write_whole

TEXTS = {
    "field": "abc\r\nX-Injected: yes",
    "line_feed": "abc\nX-Injected: yes",
    "newline_at_the_end": "{live}\n",
    "nul": "abc\0def",
    "surrogate": "abc\ud800def",
    "not_ascii": "abcédef",
    "space": "abc def",
    "tab": "abc\tdef",
    "delete": "abc\x7fdef",
    "empty": "",
    "next_line": "abc\x85def",
    "line_separator": "abc\u2028def",
}


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


def assert_nothing_injected(world: World) -> None:
    """Assert that the upstream saw tokens and account ids that were whole, and no more."""
    for visit in world.upstream.visits:
        names = {name for name, _ in visit.fields}
        assert "x-injected" not in names, visit
        assert visit.access_token != "abc", visit
        for name, text in visit.fields:
            assert text.isascii(), (name, text)
            assert text.isprintable(), (name, text)


async def never_a_500(daemon: Daemon, times: int = 3) -> None:
    """Ask some times; 401 and 503 are answers, 500 is none."""
    for _ in range(times):
        reply = await daemon.ask()
        assert reply.status in {200, 401, 503}, reply
        assert "internal" not in (reply.code or ""), reply
    assert not daemon.has_ended


@pytest.mark.parametrize("name", TEXTS)
async def test_an_access_token_in_a_grant_that_is_no_token(
    world: World, name: str
) -> None:
    """The refresh token of the grant is kept and used; the text goes nowhere."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants(override={"access_token": TEXTS[name]}))
    family.access_tokens["abc"] = time.time() + 3600
    await never_a_500(daemon)
    await reached(daemon.ask, is_served, "served", seconds=9)
    world.assert_kept(family, calls=2)
    assert_nothing_injected(world)


@pytest.mark.parametrize("name", TEXTS)
async def test_an_access_token_in_the_file_that_is_no_token(
    world: World, name: str
) -> None:
    """The file is read like any unreadable one; a good file after it is taken up."""
    family = world.log_in()
    live = list(family.access_tokens)[-1]
    family.access_tokens["abc"] = time.time() + 3600
    world.put(family, access_token=TEXTS[name].replace("{live}", live))
    daemon = await world.serve(refresh_interval_seconds=0.5)
    await never_a_500(daemon)
    world.put(family, access_token=live)
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family)
    assert_nothing_injected(world)


@pytest.mark.parametrize("name", TEXTS)
async def test_an_account_id_in_the_file_that_is_no_account_id(
    world: World, name: str
) -> None:
    """The account id of the file goes into a header field: it is checked like a token."""
    family = world.log_in()
    text = TEXTS[name].replace("{live}", "acct-a")
    world.put(family, account_id=text)
    daemon = await world.serve(refresh_interval_seconds=0.5)
    await never_a_500(daemon)
    world.authority.revoke_access_tokens()
    await never_a_500(daemon)
    world.put(family)
    assert_nothing_injected(world)
    assert family.is_alive
    assert world.authority.reuses == 0


@pytest.mark.parametrize("name", TEXTS)
async def test_an_account_id_in_a_token_that_is_no_account_id(
    world: World, name: str
) -> None:
    """The claims of a grant name an account with such a text, in a file without one."""
    family = world.log_in(opaque=True)
    text = TEXTS[name].replace("{live}", "acct-a")
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    claims = {CLAIMS: {"chatgpt_account_id": text}, "exp": int(time.time() + 3600)}
    token = jwt(claims)
    family.access_tokens[token] = time.time() + 3600
    override = {"access_token": token, "id_token": token}
    world.authority.scenes.append(grants(override=override))
    await never_a_500(daemon)
    assert_nothing_injected(world)
    world.assert_kept(family)


@pytest.mark.parametrize(
    "value", [5, None, [], {"a": 1}, True, 1e308], ids=lambda value: repr(value)
)
@pytest.mark.parametrize("field", ["access_token", "id_token"])
async def test_a_field_of_a_grant_that_is_no_text(
    world: World, field: str, value: object
) -> None:
    """A number, a list or null in the place of a token: the refresh token is kept."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants(override={field: value}))
    await never_a_500(daemon)
    await reached(daemon.ask, is_served, "served", seconds=9)
    world.assert_kept(family)
    assert_nothing_injected(world)


@pytest.mark.parametrize("value", [5, None, "", " ", "abc\r\ndef", "\ud800", "é"])
async def test_a_refresh_token_of_a_grant_that_is_no_token(
    world: World, value: object
) -> None:
    """The access token is good: it is served; nothing strange is presented or stored torn."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants(override={"refresh_token": value}))
    await never_a_500(daemon)
    await reached(daemon.ask, is_served, "served", seconds=5)
    world.stored()
    assert await daemon.stop() == 0
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    assert family.is_alive


@pytest.mark.parametrize("name", ["field", "nul", "surrogate", "newline_at_the_end"])
async def test_a_refresh_token_in_the_file_that_is_no_token(
    world: World, name: str
) -> None:
    """The file's access token is served while it lives; no 500 when it has died."""
    family = world.log_in()
    text = TEXTS[name].replace("{live}", family.live_token)
    world.put(family, refresh_token=text)
    daemon = await world.serve(refresh_interval_seconds=0.5)
    await never_a_500(daemon)
    world.authority.revoke_access_tokens()
    await never_a_500(daemon)
    assert_nothing_injected(world)
    write_whole(world.store, world.authority.document(family))
    await reached(daemon.ask, is_served, "served", seconds=8)
    assert family.is_alive
