"""The image, built and run for real: closed, small in what it holds, quick to stop."""

import http.client
from collections.abc import Iterator

import pytest

from tests.packaging.engine import (
    docker,
    inspect,
    running,
    wait_until_healthy,
)

pytestmark = pytest.mark.docker

CLOSED = (
    *("--read-only", "--tmpfs", "/tmp"),  # noqa: S108  # the container's, not ours
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
)
ON_LOOPBACK = ("--publish", "127.0.0.1::8787", "--publish", "127.0.0.1::8788")
OFTEN = ("--health-interval", "1s")
STOP_WITHIN_SECONDS = 20


@pytest.fixture(scope="module")
def daemon(image: str) -> Iterator[str]:
    """A container that serves, as closed as an engine can make one."""
    with running(image, *CLOSED, *ON_LOOPBACK, *OFTEN) as container:
        wait_until_healthy(container)
        yield container


def published(container: str, port: int) -> int:
    """The port of this machine that leads to a port of the container."""
    return int(docker("port", container, f"{port}/tcp").rsplit(":", 1)[1])


def run(image: str, *command: str) -> str:
    """What a command prints that runs in place of bearerd."""
    program, *arguments = command
    return docker("run", "--rm", "--entrypoint", program, image, *arguments)


def test_the_image_runs_as_an_ordinary_user(image: str) -> None:
    """Its user id is not root's, and is fixed, so that a volume can be prepared."""
    assert inspect(image)["Config"]["User"] == "10001:10001"
    assert run(image, "id", "-u") == "10001"


def test_the_image_has_no_installer_and_no_compiler(image: str) -> None:
    """An attacker in the container finds no tool that brings in more code."""
    tools = "pip pip3 easy_install gcc cc g++ make cargo curl wget"
    found = run(image, "sh", "-c", f"for t in {tools}; do command -v $t; done; true")
    assert found == ""
    probe = "import importlib.util as u; print([*map(u.find_spec, ('pip', 'ensurepip', 'setuptools'))])"
    assert run(image, "/opt/bearerd/bin/python", "-c", probe) == "[None, None, None]"


def test_no_program_in_the_image_is_setuid_or_setgid(image: str) -> None:
    """So no process can gain a privilege, even if the engine would allow it."""
    search = "find / -xdev -type f -perm /6000 2>/dev/null; true"
    assert run(image, "sh", "-c", search) == ""


def test_only_the_data_folder_is_writable_and_belongs_to_the_user(image: str) -> None:
    """The volume's folder belongs to the daemon's user, and no other may read it."""
    assert list(inspect(image)["Config"]["Volumes"]) == ["/var/lib/bearerd"]
    kept = run(image, "stat", "-c", "%u:%g %a", "/var/lib/bearerd")
    assert kept == "10001:10001 700"


def test_the_image_has_its_licence_and_its_command(image: str) -> None:
    """Its labels carry the licence, and its command is the program."""
    config = inspect(image)["Config"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert (config["Entrypoint"], config["Cmd"]) == (["bearerd"], ["serve"])
    assert config["StopSignal"] == "SIGTERM"


def test_the_daemon_is_healthy_without_a_login_on_a_read_only_root(daemon: str) -> None:
    """Its health check passes with nothing writable but /tmp and the volume."""
    assert inspect(daemon)["HostConfig"]["ReadonlyRootfs"]
    assert inspect(daemon)["State"]["Health"]["Status"] == "healthy"


def test_a_request_from_outside_needs_a_key(daemon: str) -> None:
    """The relay listens beyond loopback, so it rejects a request without a client key."""
    response = get(published(daemon, 8787), "/v1/models")
    assert response.status == 401
    assert response.getheader("x-bearerd-error") == "client_key_required"


def test_the_admin_listener_is_not_reached_from_outside(daemon: str) -> None:
    """It keeps to the container's loopback, published or not."""
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        get(published(daemon, 8788), "/livez")


def test_files_that_the_daemon_writes_are_private(daemon: str) -> None:
    """The first client key was written to the volume, readable by the daemon alone."""
    listed = docker("exec", daemon, "stat", "-c", "%u %a", "/var/lib/bearerd/keys.json")
    assert listed == "10001 600"


def test_sigterm_ends_the_daemon_with_exit_code_0(image: str) -> None:
    """`docker stop` needs no SIGKILL: the exit code is 0 and not 137."""
    with running(image, *CLOSED, *OFTEN) as container:
        wait_until_healthy(container)
        docker("stop", "--time", str(STOP_WITHIN_SECONDS), container)
        assert inspect(container)["State"]["ExitCode"] == 0, docker("logs", container)


def get(port: int, path: str) -> http.client.HTTPResponse:
    """The response of a port on this machine's loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse()
    finally:
        connection.close()
