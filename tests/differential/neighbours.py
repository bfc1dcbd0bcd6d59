"""nginx and haproxy as Debian has them, each as a plain reverse proxy.

They listen on Unix sockets, one for each lane, so that no port has to be guessed. Each
is set up as its manual has it for passing on what comes: no buffering, no change of
paths, upgrades allowed, connections to the upstream kept.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

NGINX, HAPROXY = "nginx 1.22", "haproxy 2.6"
"""What the differences were seen with: Debian 12's."""

START_SECONDS = 10.0

SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NGINX_CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  map $http_upgrade $onward {{ default upgrade; '' ''; }}
{lanes}
}}
"""

NGINX_LANE = """\
  upstream lane{lane} {{ server 127.0.0.1:{port} max_fails=0; keepalive 4; }}
  server {{
    listen unix:{folder}/nginx-{lane};
    location / {{
      proxy_pass http://lane{lane};
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_next_upstream off;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $onward;
    }}
  }}
"""

HAPROXY_CONFIGURATION = """\
global
  maxconn 512
defaults
  mode http
  retries 0
  timeout connect 5s
  timeout client 20s
  timeout server 20s
{lanes}
"""

HAPROXY_LANE = """\
frontend front{lane}
  bind unix@{folder}/haproxy-{lane}
  default_backend back{lane}
backend back{lane}
  server upstream 127.0.0.1:{port}
"""


class NotInstalled(Exception):
    """nginx or haproxy is not here, or not in the version that was compared with."""


def find(name: str, wanted: str) -> str:
    """Return where a program is.

    Raises:
        NotInstalled: in one line, what is missing and how to get it.
    """
    remedy = "on Debian 12: apt-get install nginx-light haproxy"
    program = shutil.which(name, path=SEARCHED)
    if program is None:
        raise NotInstalled(f"{name} is not installed; {remedy}")
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
    match = re.search(r"(\d+\.\d+)\.\d+", told.stdout + told.stderr)
    here = f"{name} {match[1]}" if match else f"{name} of an unknown version"
    if here != wanted:
        raise NotInstalled(f"compared with {wanted}, and here is {here}; {remedy}")
    return program


class Neighbour:
    """One proxy's process. Owns it until `stop`."""

    def __init__(self, name: str, folder: Path, command: Sequence[str]) -> None:
        self._name = name
        self._folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def path(self, lane: int) -> str:
        """Return the socket of a lane."""
        return str(self._folder / f"{self._name}-{lane}")

    async def start(self, lanes: int) -> None:
        """Start it, and wait until it takes connections on every lane."""
        with (self._folder / f"{self._name}.stderr").open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - ended by `stop`
                self._command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )
        async with asyncio.timeout(START_SECONDS):
            for lane in range(lanes):
                await self._is_listening(lane)

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(START_SECONDS)
            return
        self._process.kill()
        self._process.wait()

    async def _is_listening(self, lane: int) -> None:
        """Return once a connection is taken; another process tells it in no other way."""
        assert self._process is not None
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(self.path(lane))
            except OSError:
                errors = self._folder / f"{self._name}.stderr"
                assert self._process.poll() is None, errors.read_text()
                await asyncio.sleep(0.01)
            else:
                writer.transport.abort()
                return


def nginx(folder: Path, ports: Sequence[int]) -> Neighbour:
    """Return an nginx with a lane to each of these upstream ports."""
    program = find("nginx", NGINX)
    lanes = _lanes(NGINX_LANE, folder, ports)
    path = folder / "nginx.conf"
    path.write_text(NGINX_CONFIGURATION.format(folder=folder, lanes=lanes))
    command = [program, "-p", str(folder), "-e", f"{folder}/nginx.log", "-c", str(path)]
    return Neighbour("nginx", folder, command)


def haproxy(folder: Path, ports: Sequence[int]) -> Neighbour:
    """Return an haproxy with a lane to each of these upstream ports."""
    program = find("haproxy", HAPROXY)
    lanes = _lanes(HAPROXY_LANE, folder, ports)
    path = folder / "haproxy.cfg"
    path.write_text(HAPROXY_CONFIGURATION.format(lanes=lanes))
    return Neighbour("haproxy", folder, [program, "-db", "-f", str(path)])


def _lanes(template: str, folder: Path, ports: Sequence[int]) -> str:
    return "".join(
        template.format(lane=lane, folder=folder, port=port)
        for lane, port in enumerate(ports)
    )
