"""compose.yaml: an agent that has a key and a base URL, and neither login nor way out."""

import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from bearerd.settings import Settings
from tests.packaging.engine import Compose

HERE = Path(__file__).parent
PROBE = """
import socket
for port in (8787, 8788):
    try:
        socket.create_connection(("bearerd", port), timeout=5).close()
        print("open", end=" ")
    except ConnectionRefusedError:
        print("refused", end=" ")
"""


@pytest.fixture(scope="module")
def services(checkout: Path) -> dict[str, Any]:
    """The services of compose.yaml, as written."""
    parsed = yaml.safe_load((checkout / "compose.yaml").read_text())
    found = parsed["services"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def compose(checkout: Path, image: str, tmp_path: Path) -> Iterator[Compose]:
    """The project as a user copies it, with a client key; taken down in the end."""
    shutil.copy(checkout / "compose.yaml", tmp_path)
    shutil.copy(HERE / "sandbox.compose.yaml", tmp_path)
    # pytest's folder is closed to other users; the file is what the container opens.
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "client_key").write_text(secrets.token_hex(32))
    project = f"bearerd-test-{uuid4().hex[:8]}"
    environment = {"BEARERD_IMAGE": image, "COMPOSE_PROJECT_NAME": project}
    compose = Compose(tmp_path, environment=environment)
    yield compose
    compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


def test_the_agent_holds_no_credential(services: dict[str, Any]) -> None:
    """It has the client key and no volume, so there is no token that it could leak."""
    assert "volumes" not in services["agent"]
    assert services["agent"]["secrets"] == ["client_key"]


def test_the_agent_can_reach_bearerd_only(
    services: dict[str, Any], checkout: Path
) -> None:
    """Its one network is internal; the one that leads out is the daemon's."""
    networks = yaml.safe_load((checkout / "compose.yaml").read_text())["networks"]
    assert services["agent"]["networks"] == ["agents"]
    assert networks["agents"] == {"internal": True}


@pytest.mark.parametrize("service", ["bearerd", "agent"])
def test_a_service_is_closed(services: dict[str, Any], service: str) -> None:
    """Nothing to write to, no capability, no way to get one, nothing published."""
    found = services[service]
    assert found["read_only"]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not {"ports", "privileged", "cap_add", "network_mode"} & set(found)


@pytest.mark.parametrize("file", ["compose.yaml", "Dockerfile"])
def test_every_setting_named_is_one(checkout: Path, file: str) -> None:
    """A name that the daemon does not know would stop its start."""
    text = (checkout / file).read_text()
    named = set(re.findall(r"\bBEARERD_([A-Z_]+)(?=[=:])(?!:-)", text))
    assert named
    assert named <= {name.upper() for name in Settings.model_fields}


def test_both_files_name_the_same_base_image(checkout: Path) -> None:
    """`docker build` and `docker compose build` make the same image."""
    first = re.search(
        r"^ARG PYTHON_IMAGE=(\S+)$", (checkout / "Dockerfile").read_text(), re.MULTILINE
    )
    second = re.search(
        r"\$\{PYTHON_IMAGE:-(\S+)\}", (checkout / "compose.yaml").read_text()
    )
    assert first is not None
    assert second is not None
    assert first[1] == second[1]


@pytest.mark.docker
def test_an_agent_without_a_login_gets_a_401_with_the_remedy(compose: Compose) -> None:
    """The whole chain stands before anybody signs in; the response names the remedy."""
    done = compose(
        *("up", "--no-build", "--no-color", "--exit-code-from", "agent"), may_fail=True
    )
    assert done.returncode == 1
    assert re.search(r"agent.*401.*login_required", done.stdout), done.stdout


@pytest.mark.docker
def test_an_agent_gets_a_200_after_its_access_token_was_revoked(
    compose: Compose,
) -> None:
    """The daemon recovers in its container and keeps the new login on its volume."""
    done = compose(
        *("-f", "compose.yaml", "-f", "sandbox.compose.yaml"),
        *("up", "--no-build", "--no-color", "--exit-code-from", "agent"),
    )
    assert re.search(r"agent.*200 \{.*models", done.stdout), done.stdout


@pytest.mark.docker
def test_the_agent_does_not_reach_the_admin_listener(compose: Compose) -> None:
    """From the agent's network the relay's port is open and the admin's is not."""
    done = compose(
        *("run", "--rm", "-T", "--entrypoint", "/opt/bearerd/bin/python"),
        *("agent", "-c", PROBE),
    )
    assert done.stdout.split() == ["open", "refused"]
