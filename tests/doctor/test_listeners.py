"""The checks of the daemon and of its addresses."""

from __future__ import annotations

import socket
from pathlib import Path

from bearerd import __version__
from bearerd.address import Address
from bearerd.doctor.listeners import check_listeners
from tests.doctor.conftest import no_daemon, verdicts

ANY_PORT = Address("tcp", "127.0.0.1", 0)


def test_a_port_of_another_program_is_a_failure() -> None:
    """The message names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("tcp", "127.0.0.1", taken.getsockname()[1])
        found = list(check_listeners([address], [ANY_PORT], __version__, no_daemon))
    assert found[-1].verdict == "failed"
    assert str(address) in found[-1].message


def test_a_port_in_use_is_a_warning_if_the_daemon_cannot_be_asked() -> None:
    """The daemon itself may have it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("tcp", "127.0.0.1", taken.getsockname()[1])
        found = list(check_listeners([address], [], __version__, no_daemon))
    assert verdicts(found, "daemon") == ["skipped"]
    assert verdicts(found, "listener") == ["warning"]


def test_the_ports_of_a_running_daemon_are_ok() -> None:
    """Although they cannot be bound."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("tcp", "127.0.0.1", server.getsockname()[1])
        status = {"version": __version__, "relay": [str(address)], "admin": []}
        found = list(
            check_listeners([address], [address], __version__, lambda *_: status)
        )
    assert [finding.verdict for finding in found] == ["ok", "ok", "ok"]


def test_a_daemon_of_another_version_is_a_warning() -> None:
    """The program was updated while it ran."""
    status = {"version": "0.0.1", "relay": [], "admin": []}
    (finding,) = check_listeners([], [ANY_PORT], __version__, lambda *_: status)
    assert finding.verdict == "warning"
    assert finding.remedy == "restart it"


def test_an_address_of_another_machine_is_a_failure() -> None:
    """The remedy is an address of this one."""
    other = Address("tcp", "192.0.2.1", 8787)
    found = list(check_listeners([other], [ANY_PORT], __version__, no_daemon))
    assert found[-1].verdict == "failed"
    assert "addresses of this machine" in found[-1].remedy


def test_a_unix_socket_without_a_listener_is_free(tmp_path: Path) -> None:
    """Also if a dead process has left the file."""
    path = tmp_path / "s"
    address = Address("unix", path=str(path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        (_, free) = check_listeners([address], [], __version__, no_daemon)
        server.listen()
        (_, used) = check_listeners([address], [], __version__, no_daemon)
    assert free.verdict == "ok"
    assert used.verdict == "warning"
