"""The key ring: which key finds its client, and what other processes change."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bearerd.errors import ConfigurationError
from bearerd.keys.ring import Client, KeyRing
from tests.keys.conftest import ManualClock

OPERATOR_KEY = "9f2c7a5be4d84e1fa3306b72"
RELAY = frozenset({"relay"})


def test_a_key_finds_its_client(ring: KeyRing) -> None:
    """The whole key, and no string that is similar."""
    key = ring.create("laptop", "work")
    assert ring.find(key.encode()) == Client("laptop", "work", RELAY)
    for other in (key[:-1], key + "x", key.upper(), f" {key}", "", "x"):
        assert ring.find(other.encode()) is None


def test_a_key_with_the_claims_of_another_is_unknown(ring: KeyRing) -> None:
    """Under another last part they find no client."""
    head, payload, _ = ring.create("laptop").split(".")
    assert ring.find(f"{head}.{payload}.{'A' * 43}".encode()) is None
    assert ring.find(f"{head}.{payload}.".encode()) is None
    assert ring.find(b"\xff\xfe") is None


def test_the_key_of_the_settings_is_the_operator_s(
    path: Path, time: ManualClock
) -> None:
    """It needs no file, and can be neither created nor revoked by a command."""
    ring = KeyRing.load(path, clock=time.clock(), operator_key=OPERATOR_KEY)
    assert ring.find(OPERATOR_KEY.encode()) == Client("operator", "default", RELAY)
    assert ring.names() == ("operator",)
    assert not path.exists()
    with pytest.raises(ConfigurationError, match="named operator already"):
        ring.create("operator")
    with pytest.raises(ConfigurationError, match="comes from the settings"):
        ring.revoke("operator")


def test_a_weak_key_in_the_settings_is_refused(path: Path, time: ManualClock) -> None:
    """The message does not repeat it."""
    with pytest.raises(ConfigurationError, match="at least 24") as caught:
        KeyRing.load(path, clock=time.clock(), operator_key="hunter2")
    assert "hunter2" not in caught.value.message


def test_a_name_that_is_not_allowed_is_refused(ring: KeyRing) -> None:
    """The message has the rule."""
    with pytest.raises(ConfigurationError, match="allowed are letters, digits"):
        ring.create("a b")
    assert ring.names() == ()


def test_a_name_is_given_once(ring: KeyRing) -> None:
    """The message names the remedy; the first key is still accepted."""
    key = ring.create("laptop")
    with pytest.raises(ConfigurationError, match="bearerd key revoke laptop"):
        ring.create("laptop")
    assert ring.find(key.encode()) is not None


def test_an_unknown_name_cannot_be_revoked(ring: KeyRing) -> None:
    """The message lists the names that can be."""
    with pytest.raises(ConfigurationError, match="named x; there are: none"):
        ring.revoke("x")
    ring.create("laptop")
    with pytest.raises(ConfigurationError, match="named x; there are: laptop"):
        ring.revoke("x")


def test_a_key_that_another_process_makes_is_accepted_at_once(
    ring: KeyRing, time: ManualClock
) -> None:
    """Each unknown key makes the ring check the file, right after a miss too."""
    assert ring.find(b"unknown") is None
    key = KeyRing.load(ring.path, clock=time.clock()).create("laptop")
    assert ring.find(key.encode()) == Client("laptop", "default", RELAY)


def test_a_key_that_another_process_revokes_is_rejected_after_a_second(
    ring: KeyRing, time: ManualClock
) -> None:
    """A known key makes the ring check the file once a second at most."""
    key = ring.create("laptop").encode()
    assert ring.find(key) is not None
    KeyRing.load(ring.path, clock=time.clock()).revoke("laptop")
    time.seconds += 0.9
    assert ring.find(key) is not None
    time.seconds += 0.1
    assert ring.find(key) is None


def test_a_removed_file_takes_its_keys_along(ring: KeyRing, time: ManualClock) -> None:
    """A restored one brings them back."""
    key = ring.create("laptop").encode()
    content = ring.path.read_bytes()
    ring.path.unlink()
    time.seconds += 1.0
    assert ring.find(key) is None
    ring.path.write_bytes(content)
    assert ring.find(key) is not None


def test_a_broken_file_leaves_the_loaded_keys_in_force(
    ring: KeyRing, time: ManualClock
) -> None:
    """An editing mistake neither locks the agents out nor ends the daemon."""
    key = ring.create("laptop").encode()
    ring.path.write_text("{")
    time.seconds += 1.0
    assert ring.find(key) is not None
    assert ring.find(b"unknown") is None


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let no file be opened inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_that_could_not_be_read_is_read_again(
    ring: KeyRing, time: ManualClock
) -> None:
    """A daemon that is out of descriptors for a moment misses no change."""
    key = KeyRing.load(ring.path, clock=time.clock()).create("laptop").encode()
    with no_descriptors():
        assert ring.find(key) is None
    assert ring.find(key) is not None


PROGRAM = """
import sys
from pathlib import Path
from bearerd.keys.ring import KeyRing

path, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ring = KeyRing.load(path)
for number in range(first, first + count):
    ring.create(f"agent-{number}")
print(ring.create_first())
"""


def started(path: Path, first: int, count: int) -> subprocess.Popen[bytes]:
    """Start a process that creates *count* keys, and then a first key if it may."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(first), str(count)],
        stdout=subprocess.PIPE,
    )


def test_processes_that_write_at_once_lose_no_key(path: Path) -> None:
    """Four processes make ten keys each; the lock beside the file makes it forty."""
    processes = [started(path, first, 10) for first in range(0, 40, 10)]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert output.strip() == b"None"
    names = KeyRing.load(path).names()
    assert sorted(names) == sorted(f"agent-{number}" for number in range(40))
    assert path.with_name("keys.json.lock").exists()


def test_of_processes_that_start_at_once_one_makes_the_first_key(path: Path) -> None:
    """The plain file holds the key that is accepted."""
    processes = [started(path, 0, 0) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    first = str(path.with_name("client-key")).encode()
    assert sorted(outputs) == sorted([b"None", b"None", b"None", first])
    ring = KeyRing.load(path)
    assert ring.names() == ("default",)
    assert ring.find(Path(first.decode()).read_bytes().strip()) is not None
