"""`bearerd serve` and signals: drain, abort, exit. Each test starts a process."""

from __future__ import annotations

import asyncio
import json
import signal

import aiohttp
import pytest

from bearerd.sandbox import Sandbox
from tests.cli.conftest import Shell
from tests.support import Launch, ServeProcess, read_login, tokens_of


@pytest.mark.usefixtures("signed_in")
async def test_the_first_signal_drains(launch: Launch, sandbox: Sandbox) -> None:
    """The response is delivered whole, then the process ends with 0."""
    daemon = await launch(drain_seconds=20)
    sandbox.upstream.gate.close()
    sending = asyncio.create_task(daemon.client.send())
    await sandbox.upstream.wait_for_waiting(1)
    daemon.terminate()
    await daemon.wait_for("service.stopping")
    assert json.loads((await daemon.admin("/api/status"))[1])["draining"] is True
    assert (await daemon.admin("/readyz"))[0] == 503
    sandbox.upstream.gate.open()
    assert (await sending).status == 200
    assert await daemon.ended() == 0
    assert (await daemon.wait_for("service.stopped"))["aborted"] == 0


@pytest.mark.usefixtures("signed_in")
async def test_the_second_signal_aborts_requests(
    launch: Launch, sandbox: Sandbox
) -> None:
    """However long the drain may take; the process still ends in order."""
    daemon = await launch(drain_seconds=3600)
    sandbox.upstream.gate.close()
    sending = asyncio.create_task(daemon.client.send())
    await sandbox.upstream.wait_for_waiting(1)
    daemon.terminate()
    await daemon.wait_for("service.stopping")
    daemon.terminate()
    assert await daemon.ended() == 0
    assert (await daemon.wait_for("service.stopped"))["aborted"] == 1
    with pytest.raises(aiohttp.ClientError):
        await sending


async def stopped_during_a_refresh(launch: Launch, sandbox: Sandbox) -> ServeProcess:
    """Return a daemon that got two signals while its refresh awaits a response."""
    daemon = await launch(drain_seconds=3600)
    sandbox.authority.response_gate.close()
    sandbox.revoke_access_tokens()
    sending = asyncio.create_task(daemon.client.send())
    await sandbox.authority.response_gate.wait_for_waiting(1)
    for _ in range(2):
        daemon.terminate()
        await daemon.wait_for("service.stopping")
    with pytest.raises(aiohttp.ClientError):
        await sending  # aborted by the second signal
    return daemon


@pytest.mark.usefixtures("signed_in")
async def test_the_second_signal_lets_a_refresh_complete(
    shell: Shell, launch: Launch, sandbox: Sandbox
) -> None:
    """Its token is spent: the response is awaited and stored."""
    daemon = await stopped_during_a_refresh(launch, sandbox)
    assert daemon.process.returncode is None
    sandbox.authority.response_gate.open()
    assert await daemon.ended() == 0
    stored = tokens_of(read_login(shell.store))
    assert sandbox.tokens.introspect(stored["access_token"]).state == "live"
    assert sandbox.authority.refreshes == 1


@pytest.mark.usefixtures("signed_in")
async def test_the_third_signal_ends_it_at_once(
    launch: Launch, sandbox: Sandbox
) -> None:
    """Also during a refresh, with the exit code of a process killed by the signal."""
    daemon = await stopped_during_a_refresh(launch, sandbox)
    daemon.terminate()
    assert await daemon.ended() == 128 + signal.SIGTERM
    sandbox.authority.response_gate.open()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)],
)
async def test_each_signal_ends_an_idle_daemon(
    launch: Launch, number: signal.Signals, code: int
) -> None:
    """From a supervisor, a closed terminal, or Ctrl-C; the last event is logged."""
    daemon = await launch()
    daemon.process.send_signal(number)
    assert await daemon.ended() == code
    assert daemon.lines[-1]["event"] == "service.stopped"
