"""A container engine, as its command line offers it; and a wait that is no sleep."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

HEALTHY_WITHIN_SECONDS = 60


def missing() -> str | None:
    """Why there is no engine to test with, or None when one answers."""
    if shutil.which("docker") is None:
        return "no docker command on the PATH"
    asked = subprocess.run(["docker", "info"], capture_output=True, check=False)
    return None if asked.returncode == 0 else "no container engine answers"


def docker(*arguments: str, timeout_seconds: float = 120) -> str:
    """What `docker ARGUMENTS` prints; fails the test with its stderr if it fails."""
    done = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_seconds,
    )
    assert done.returncode == 0, f"docker {shlex.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def build(checkout: Path) -> str:
    """Build the image of the checkout and return its name.

    PYTHON_IMAGE and DOCKER_BUILD_FLAGS are the Makefile's, for an engine that reaches
    no image registry or needs another network to build.
    """
    name = f"bearerd:test-{uuid4().hex[:8]}"
    base = os.environ.get("PYTHON_IMAGE")
    arguments = shlex.split(os.environ.get("DOCKER_BUILD_FLAGS", ""))
    arguments += ["--build-arg", f"PYTHON_IMAGE={base}"] if base else []
    docker("build", "-t", name, *arguments, str(checkout), timeout_seconds=900)
    return name


def inspect(thing: str) -> dict[str, Any]:
    """What the engine knows of an image or a container."""
    (found,) = json.loads(docker("inspect", thing))
    assert isinstance(found, dict)
    return found


@contextmanager
def running(image: str, *options: str) -> Iterator[str]:
    """A container of the image with its default command, removed in the end."""
    name = f"bearerd-test-{uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, *options, image)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def wait_until_healthy(container: str) -> None:
    """Return when the container's own health check says so; fail when it does not."""
    now = int(time())
    with subprocess.Popen(
        [
            *("docker", "events", "--since", "1", "--filter", "event=health_status"),
            *("--until", str(now + HEALTHY_WITHIN_SECONDS)),
            *("--filter", f"container={container}", "--format", "{{.Status}}"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as events:
        assert events.stdout is not None
        healthy = any(line.strip().endswith(": healthy") for line in events.stdout)
        events.kill()
    assert healthy, docker("logs", container)


class Compose:
    """A compose project in a folder of its own, under either of the two programs."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str]) -> None:
        """Take *folder*, which holds compose.yaml, and what the file is to expand."""
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._program = self._found()

    def __call__(
        self, *arguments: str, may_fail: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run one command of the project and return what became of it."""
        done = subprocess.run(
            [*self._program, *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert may_fail or done.returncode == 0, done.stdout + done.stderr
        return done

    def _found(self) -> Sequence[str]:
        plugin = ["docker", "compose"]
        asked = subprocess.run([*plugin, "version"], capture_output=True, check=False)
        return plugin if asked.returncode == 0 else ["docker-compose"]
