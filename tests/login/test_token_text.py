"""Text that is no token, in a grant and in a file.

Each test takes one daemon through all texts, by a clock that runs fast, since a grant
without a usable access token is followed by a pause.
"""

from __future__ import annotations

from tests.login.clocks import needs_compiler
from tests.login.lab import CLAIMS, Document, Family, grants, jwt
from tests.login.processes import Daemon, Reply, reached
from tests.login.world import World, write_whole

pytestmark = needs_compiler

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
NO_TEXTS: tuple[object, ...] = (5, None, [], {"a": 1}, True, 1e308)


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


async def begin(world: World, *, opaque: bool = False) -> tuple[Family, Daemon]:
    """Start a daemon with a login, by a fast clock and with budget for all texts."""
    world.live_by(30)
    family = world.log_in(opaque=opaque)
    daemon = await world.serve(
        refresh_burst=100, refresh_interval_seconds=1, authority_timeout_seconds=300
    )
    return family, daemon


async def uses(daemon: Daemon, world: World, access_token: str) -> None:
    """Return once requests go out with this token."""
    await reached(
        daemon.ask,
        lambda _: world.upstream.visits[-1].access_token == access_token,
        "the new login is used",
    )


def accept_abc(world: World, family: Family) -> None:
    """Let the upstream accept the token that is left of a text with a line end in it."""
    family.access_tokens["abc"] = world.authority.now() + 86400


def assert_nothing_injected(world: World) -> None:
    """Assert that the upstream got whole tokens and account ids, and no more."""
    assert world.upstream.visits
    for visit in world.upstream.visits:
        names = {name for name, _ in visit.fields}
        assert "x-injected" not in names, visit
        assert visit.access_token != "abc", visit
        for name, text in visit.fields:
            assert text.isascii(), (name, text)
            assert text.isprintable(), (name, text)


async def never_a_500(daemon: Daemon, name: object, times: int = 2) -> None:
    """Ask some times; 401 and 503 are good answers, 500 is none."""
    for _ in range(times):
        reply = await daemon.ask()
        assert reply.status in {200, 401, 503}, (name, reply)
        assert "internal" not in (reply.code or ""), (name, reply)
    assert not daemon.has_ended, name


async def test_an_access_token_of_a_grant_that_is_no_token(world: World) -> None:
    """The refresh token of the grant is kept and used; the text goes nowhere."""
    family, daemon = await begin(world)
    for name, text in TEXTS.items():
        world.authority.revoke_access_tokens()
        accept_abc(world, family)
        world.authority.scenes.append(grants(override={"access_token": text}))
        await never_a_500(daemon, name)
        await reached(daemon.ask, is_served, name)
    world.assert_kept(family, calls=2 * len(TEXTS))
    assert_nothing_injected(world)


async def test_an_access_token_of_the_file_that_is_no_token(world: World) -> None:
    """The file holds no login then; a good file after it is taken up."""
    family, daemon = await begin(world)
    live = next(iter(family.access_tokens))
    accept_abc(world, family)
    for name, text in TEXTS.items():
        world.put(family, access_token=text.replace("{live}", live))
        await never_a_500(daemon, name)
        world.put(family, access_token=live)
        await reached(daemon.ask, is_served, name)
    world.assert_kept(family, calls=0)
    assert_nothing_injected(world)


async def test_a_start_with_a_file_that_holds_no_token(world: World) -> None:
    """The daemon starts, and takes up the good file that comes."""
    family = world.log_in()
    live = next(iter(family.access_tokens))
    accept_abc(world, family)
    world.put(family, access_token=TEXTS["field"])
    daemon = await world.serve()
    await never_a_500(daemon, "field")
    world.put(family, access_token=live)
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family, calls=0)
    assert_nothing_injected(world)


async def test_an_account_id_of_the_file_that_is_no_account_id(world: World) -> None:
    """It goes into a header field, so it is checked as a token is."""
    family, daemon = await begin(world)
    for name, text in TEXTS.items():
        world.put(family, account_id=text.replace("{live}", "acct-a"))
        await never_a_500(daemon, name)
        world.authority.revoke_access_tokens()
        await never_a_500(daemon, name)
        world.put(family)
        await reached(daemon.ask, is_served, name)
    assert_nothing_injected(world)
    world.assert_kept(family)


async def test_an_account_id_of_a_token_that_is_no_account_id(world: World) -> None:
    """A grant names the account by its claims alone; the file before it names none."""
    family, daemon = await begin(world, opaque=True)
    for name, text in TEXTS.items():
        world.authority.revoke_access_tokens()
        expires = world.authority.now() + 86400
        account = {"chatgpt_account_id": text.replace("{live}", "acct-a")}
        token = jwt({CLAIMS: account, "exp": int(expires), "jti": name})
        family.access_tokens[token] = expires
        override: Document = {"access_token": token, "id_token": token}
        world.authority.scenes.append(grants(override=override))
        await never_a_500(daemon, name)
    assert_nothing_injected(world)
    world.assert_kept(family)


async def test_a_field_of_a_grant_that_is_no_text(world: World) -> None:
    """A number, a list or null in the place of a token: the refresh token is kept."""
    family, daemon = await begin(world)
    for field in ("access_token", "id_token"):
        for value in NO_TEXTS:
            world.authority.revoke_access_tokens()
            world.authority.scenes.append(grants(override={field: value}))
            await never_a_500(daemon, (field, value))
            await reached(daemon.ask, is_served, f"{field}: {value!r}")
    world.assert_kept(family)
    assert_nothing_injected(world)


async def test_a_refresh_token_of_a_grant_that_is_no_token(world: World) -> None:
    """The access token is good, and served; the text is neither presented nor stored."""
    _, daemon = await begin(world)
    for value in (5, None, "", " ", "abc\r\ndef", "\ud800", "é"):
        family = world.log_in()
        newest = list(family.access_tokens)[-1]
        await uses(daemon, world, newest)
        world.authority.revoke_access_tokens()
        world.authority.scenes.append(grants(override={"refresh_token": value}))
        await never_a_500(daemon, value)
        await reached(daemon.ask, is_served, repr(value))
        assert world.stored_refresh_token() == family.refresh_tokens[0], value
        assert family.is_alive
    assert await daemon.stop() == 0
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200


async def test_a_refresh_token_of_the_file_that_is_no_token(world: World) -> None:
    """The access token of the file is served while it lives; no 500 when it has died."""
    family, daemon = await begin(world)
    for name in ("field", "nul", "surrogate", "newline_at_the_end"):
        text = TEXTS[name].replace("{live}", family.live_token)
        world.put(family, refresh_token=text)
        await never_a_500(daemon, name)
        world.authority.revoke_access_tokens()
        await never_a_500(daemon, name)
        write_whole(world.store, world.authority.document(family))
        await reached(daemon.ask, is_served, name)
    assert_nothing_injected(world)
    assert family.is_alive
    assert world.authority.reuses == 0
