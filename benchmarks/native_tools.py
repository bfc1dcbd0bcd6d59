"""The two programs in `native/`, compiled where they are needed.

They are written in C because a load and an upstream in Python would cost more than
what is measured.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import NotMeasured

SOURCES = Path(__file__).with_name("native")


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the compiled programs are."""

    upstream: Path
    load: Path


def build(folder: Path) -> Tools:
    """Compile both into *folder*; takes a second.

    Raises:
        NotMeasured: there is no C compiler, or it does not take the source.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise NotMeasured(
            "there is no C compiler (`cc`), which the load and the upstream are built "
            "with; on Debian and Ubuntu: apt-get install gcc libc6-dev"
        )
    return Tools(
        upstream=_compile(compiler, "upstream", folder),
        load=_compile(compiler, "load", folder),
    )


def _compile(compiler: str, name: str, folder: Path) -> Path:
    program = folder / name
    source = SOURCES / f"{name}.c"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise NotMeasured(
            f"cc does not compile {source.name}: {lines[0]}; with a message about a "
            "missing header: apt-get install libc6-dev"
        )
    return program
