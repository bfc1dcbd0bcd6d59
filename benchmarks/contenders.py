"""Who is measured: nginx and bearerd, both as real processes doing the same job.

The job: take HTTP/1.1 on loopback, put the login's bearer in place of what the client
sent, pass the rest on over kept-alive connections, and let the response through as it
comes. nginx checks no client keys and replays nothing; bearerd does.
"""

from __future__ import annotations

import http.client
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.errors import NotMeasured
from benchmarks.login import Login
from benchmarks.process import Cores, Process

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_SECONDS = 20.0
READY_TARGET = "/backend-api/codex/models"

NGINX_CONFIGURATION = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  keepalive_requests 1000000000;
  upstream stand_in {{
    server 127.0.0.1:{upstream_port};
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://stand_in;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 300s;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {access_token}";
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What a contender is started with."""

    folder: Path
    upstream_port: int
    login: Login
    cores: Cores
    environ: Mapping[str, str]


class Contender:
    """A running proxy. Owns its process until `stop`.

    `counting` may be set: it is told when a load begins to count, and when it ends.
    """

    def __init__(self, name: str, process: Process, port: int, bearer: str) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.counting: Callable[[bool], None] = lambda _: None
        self.ready_after = (0.0, 0.0)  # wall and processor seconds
        self.bearer = bearer  # what its clients show

    def wait_until_ready(self) -> None:
        """Return after its first response, and keep what it took in `ready_after`.

        Raises:
            NotMeasured: it ended, or did not answer in time.
        """
        process = self.process
        status: object = "no answer"
        while time.monotonic() - process.started_at < START_LIMIT_SECONDS:
            if process.has_ended:
                raise NotMeasured(f"{self.name} did not start: {process.complaint()}")
            status = self._ask()
            if status == http.client.OK:
                wall_seconds = time.monotonic() - process.started_at
                self.ready_after = (wall_seconds, process.cpu_seconds())
                return
            time.sleep(0.001)
        raise NotMeasured(
            f"{self.name} did not answer 200 within {START_LIMIT_SECONDS:g} s "
            f"({status}): {process.complaint()}"
        )

    def _ask(self) -> object:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            bearer = {"Authorization": f"Bearer {self.bearer}"}
            connection.request("GET", READY_TARGET, headers=bearer)
            return connection.getresponse().status
        except OSError as error:
            return error
        finally:
            connection.close()

    def stop(self) -> None:
        """End its process."""
        self.process.stop()


Start: TypeAlias = Callable[[Place], Contender]
"""Starts a contender; it is not ready yet."""


def nginx_program(environ: Mapping[str, str]) -> str:
    """Return where nginx is; it often stands off the path of a plain user.

    Raises:
        NotMeasured: it is not installed.
    """
    program = shutil.which("nginx", path=f"{environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise NotMeasured(
            "there is no nginx to compare with; on Debian and Ubuntu: apt-get install nginx"
        )
    return program


def start_nginx(place: Place) -> Contender:
    """Start nginx: one worker, unbuffered, no log."""
    program = nginx_program(place.environ)
    port = free_port()
    configuration = place.folder / "nginx.conf"
    configuration.write_text(
        NGINX_CONFIGURATION.format(
            folder=place.folder,
            port=port,
            upstream_port=place.upstream_port,
            access_token=place.login.access_token,
        )
    )
    configuration.chmod(0o600)
    process = Process(
        [program, "-e", "stderr", "-p", str(place.folder), "-c", str(configuration)],
        core=place.cores.proxy,
        environment=place.environ,
        errors=place.folder / "nginx.stderr",
    )
    return Contender("nginx", process, port, place.login.client_key)


def start_bearerd(place: Place, *through: str) -> Contender:
    """Start `bearerd serve`, *through* another module if one is named."""
    port = free_port()
    store = place.folder / "auth.json"
    if not store.exists():
        place.login.write(store)
    nobody = f"http://127.0.0.1:{free_port()}"
    settings = {
        "LISTEN": f"127.0.0.1:{port}",
        "ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        "UPSTREAM_URL": f"http://127.0.0.1:{place.upstream_port}/backend-api",
        "ISSUER_URL": nobody,
        "STORE": str(store),
        "CLIENT_KEY": place.login.client_key,
        "DRAIN_SECONDS": "0",
    }
    environment = {
        name: value
        for name, value in place.environ.items()
        if not name.startswith("BEARERD_")
    }
    environment |= {f"BEARERD_{name}": value for name, value in settings.items()}
    environment |= {"HOME": str(place.folder), "PYTHONPATH": str(ROOT)}
    process = Process(
        [sys.executable, "-m", *through, "bearerd", "serve"],
        core=place.cores.proxy,
        environment=environment,
        errors=place.folder / "bearerd.stderr",
    )
    return Contender("bearerd", process, port, place.login.client_key)


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
