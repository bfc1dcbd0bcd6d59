"""The ring of client keys: what a key looks like, who finds it, and when it dies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.clock import Clock
from bearerd.errors import BearerdError, ConfigurationError, StoreError
from bearerd.keys import shape
from bearerd.keys.file import KeyFile
from bearerd.keys.ring import Client, KeyRing

OWN_KEY = "9f2c7a5be4d84e1fa3306b72"
RELAY = frozenset({"relay"})


class Hands:
    """A clock whose hands a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def read(self) -> float:
        return self.seconds

    def clock(self) -> Clock:
        return Clock(now=self.read, monotonic=self.read, sleep=asyncio.sleep)


@pytest.fixture
def hands() -> Hands:
    """Hands that stand still until a test moves them."""
    return Hands()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file in a folder that is not there yet."""
    return tmp_path / "data" / "keys.json"


@pytest.fixture
def ring(path: Path, hands: Hands) -> KeyRing:
    """A ring on that file."""
    return KeyRing.load(path, clock=hands.clock())


def part(key: str, index: int) -> dict[str, object]:
    """Decode one part of a key, as an agent would."""
    text = key.split(".")[index]
    claims = json.loads(base64.b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(claims, dict)
    return claims


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


# --- the shape --------------------------------------------------------------------


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True))
def test_every_name_makes_a_key_that_agents_can_decode(name: str) -> None:
    """Three parts; a payload without - and _, for pi reads it with `atob`."""
    key = shape.mint(name)
    header, payload, random = key.split(".")
    assert part(key, 0) == {"alg": "none", "typ": "JWT"}
    assert re.fullmatch(r"[A-Za-z0-9]+", header)
    assert re.fullmatch(r"[A-Za-z0-9+/]+", payload)
    claims = part(key, 1)
    assert claims["exp"] == 4102444800
    assert claims["https://api.openai.com/auth"] == {
        "chatgpt_account_id": "bearerd",
        "chatgpt_plan_type": "plus",
    }
    assert claims["https://api.openai.com/profile"] == {
        "email": f"{name}@bearerd.invalid"
    }
    assert len(base64.urlsafe_b64decode(random + "=")) == 32


def test_no_two_keys_are_alike(ring: KeyRing) -> None:
    """The last part is drawn anew for each."""
    keys = {shape.mint("same").split(".")[2] for _ in range(100)}
    assert len(keys) == 100
    assert ring.names() == ()


@pytest.mark.parametrize(
    "name", ["", ".x", "-x", "a b", "a/b", "\u00e9", "x" * 64, "a\n"]
)
def test_a_name_that_no_key_may_have_is_refused(ring: KeyRing, name: str) -> None:
    """Names stand in metrics and logs, so they are kept plain."""
    with pytest.raises(ConfigurationError, match="allowed are letters, digits"):
        ring.create(name)
    assert ring.names() == ()


# --- who finds it -----------------------------------------------------------------


def test_a_key_finds_its_client(ring: KeyRing) -> None:
    """The whole string, and nothing that is like it."""
    key = ring.create("laptop", "work")
    assert ring.find(key.encode()) == Client("laptop", "work", RELAY)
    for other in (key[:-1], key + "x", key.upper(), f" {key}", "", "x"):
        assert ring.find(other.encode()) is None


def test_a_forged_key_is_nobodys(ring: KeyRing) -> None:
    """The claims of a key that is known prove nothing under another last part."""
    head, payload, _ = ring.create("laptop").split(".")
    assert ring.find(f"{head}.{payload}.{'A' * 43}".encode()) is None
    assert ring.find(f"{head}.{payload}.".encode()) is None
    assert ring.find(b"\xff\xfe") is None


def test_the_operators_own_key_comes_in(path: Path, hands: Hands) -> None:
    """Under the name `operator`, and without any file."""
    ring = KeyRing.load(path, clock=hands.clock(), operator_key=OWN_KEY)
    assert ring.find(OWN_KEY.encode()) == Client("operator", "default", RELAY)
    assert ring.names() == ("operator",)
    assert not path.exists()
    with pytest.raises(ConfigurationError, match="named operator already"):
        ring.create("operator")
    with pytest.raises(ConfigurationError, match="comes from the settings"):
        ring.revoke("operator")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("short", "at least 24"),
        ("changeme-changeme-changeme", "sample"),
        ("CHANGE_ME_9f2c7a5be4d84e1f", "sample"),
        ("your-client-key-goes-in-here", "sample"),
        ("abababababababababababababab", "different"),
        ("9f2c7a5be4d84e1fa330 6b72", "visible"),
    ],
)
def test_a_weak_key_of_the_operator_is_refused(
    path: Path, hands: Hands, key: str, reason: str
) -> None:
    """And is not repeated in the message."""
    with pytest.raises(ConfigurationError, match=reason) as caught:
        KeyRing.load(path, clock=hands.clock(), operator_key=key)
    assert key not in caught.value.message


# --- what is kept -----------------------------------------------------------------


def test_the_file_holds_no_key(ring: KeyRing, path: Path) -> None:
    """Name, profile, SHA-256, date and rights; private, and a whole file each time."""
    key = ring.create("laptop", "work")
    document = json.loads(path.read_text())
    assert document == {
        "version": 1,
        "keys": [
            {
                "name": "laptop",
                "profile": "work",
                "sha256": hashlib.sha256(key.encode()).hexdigest(),
                "created_at": "2027-01-15T08:00:00+00:00",
                "may": ["relay"],
            }
        ],
    }
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "keys.json",
        "keys.json.lock",
    ]


def test_a_name_is_given_once(ring: KeyRing) -> None:
    """The message says how to go on; the first key stays good."""
    key = ring.create("laptop")
    with pytest.raises(ConfigurationError, match="bearerd key revoke laptop"):
        ring.create("laptop")
    assert ring.find(key.encode()) is not None


def test_a_name_that_is_not_there_cannot_be_revoked(ring: KeyRing) -> None:
    """The message says which are."""
    with pytest.raises(ConfigurationError, match="named x; there are: none"):
        ring.revoke("x")
    ring.create("laptop")
    with pytest.raises(ConfigurationError, match="named x; there are: laptop"):
        ring.revoke("x")


def test_the_first_key_can_be_read_again(ring: KeyRing) -> None:
    """It is made once, in a private file beside, and goes when it is revoked."""
    assert ring.first_key_file() is None
    path = ring.create_first()
    assert path == ring.first_key_file() == ring.path.with_name("client-key")
    assert path is not None
    assert mode(path) == 0o600
    key = path.read_text().strip()
    assert ring.find(key.encode()) == Client("default", "default", RELAY)
    assert ring.create_first() is None
    assert path.read_text().strip() == key
    ring.revoke("default")
    assert ring.find(key.encode()) is None
    assert ring.first_key_file() is None


def test_no_first_key_is_made_beside_another(path: Path, hands: Hands) -> None:
    """Neither beside the operator's own, nor beside one that another process made."""
    own = KeyRing.load(path, clock=hands.clock(), operator_key=OWN_KEY)
    assert own.create_first() is None
    late = KeyRing.load(path, clock=hands.clock())
    KeyRing.load(path, clock=hands.clock()).create("laptop")
    assert late.create_first() is None
    assert late.names() == ("laptop",)


def test_a_first_key_that_is_good_for_nothing_is_replaced(ring: KeyRing) -> None:
    """A stop between the two files leaves a plain key that nobody knows."""
    ring.path.parent.mkdir()
    ring.path.with_name("client-key").write_text("left over\n")
    path = ring.create_first()
    assert path is not None
    assert ring.find(path.read_text().strip().encode()) is not None


def test_revoking_another_key_keeps_the_first(ring: KeyRing) -> None:
    """Only the key that is in it takes the plain file along."""
    ring.create_first()
    ring.create("laptop")
    ring.revoke("laptop")
    assert ring.first_key_file() is not None
    assert ring.names() == ("default",)


# --- a daemon that runs -----------------------------------------------------------


def test_a_key_made_elsewhere_counts_at_once(ring: KeyRing, hands: Hands) -> None:
    """Also right after a miss: the file is looked at for each key that is unknown."""
    assert ring.find(b"nobody") is None
    key = KeyRing.load(ring.path, clock=hands.clock()).create("laptop")
    assert ring.find(key.encode()) == Client("laptop", "default", RELAY)


def test_a_key_revoked_elsewhere_dies_within_a_second(
    ring: KeyRing, hands: Hands
) -> None:
    """The file is looked at once a second, however many requests there are."""
    key = ring.create("laptop").encode()
    assert ring.find(key) is not None
    KeyRing.load(ring.path, clock=hands.clock()).revoke("laptop")
    hands.seconds += 1.0
    assert ring.find(key) is None


def test_a_file_taken_away_takes_its_keys_along(ring: KeyRing, hands: Hands) -> None:
    """A restored one brings them back."""
    key = ring.create("laptop").encode()
    content = ring.path.read_bytes()
    ring.path.unlink()
    hands.seconds += 1.0
    assert ring.find(key) is None
    ring.path.write_bytes(content)
    assert ring.find(key) is not None


def test_a_file_that_breaks_leaves_the_ring_as_it_was(
    ring: KeyRing, hands: Hands
) -> None:
    """A slip of an editor does not lock the agents out, nor end the daemon."""
    key = ring.create("laptop").encode()
    ring.path.write_text("{")
    hands.seconds += 1.0
    assert ring.find(key) is not None
    assert ring.find(b"nobody") is None


BROKEN = [
    "{",
    "[]",
    "{}",
    '{"version": 2, "keys": []}',
    '{"version": 1, "keys": [{}]}',
    '{"version": 1, "keys": ["x"]}',
    '{"version": 1, "keys": 3}',
    json.dumps(
        {
            "version": 1,
            "keys": [
                {
                    "name": "x",
                    "profile": "default",
                    "sha256": "00",
                    "created_at": "2027-01-15T08:00:00+00:00",
                    "may": ["relay"],
                }
            ],
        }
    ),
    json.dumps(
        {
            "version": 1,
            "keys": [
                {
                    "name": 3,
                    "profile": "default",
                    "sha256": "00" * 32,
                    "created_at": "2027-01-15T08:00:00+00:00",
                    "may": ["relay"],
                }
            ],
        }
    ),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_refused_and_kept(
    path: Path, hands: Hands, content: str
) -> None:
    """At the start, and by whoever would write over it."""
    path.parent.mkdir()
    ring = KeyRing.load(path, clock=hands.clock())
    path.write_text(content)
    with pytest.raises(StoreError, match="this is no file of client keys") as caught:
        KeyRing.load(path, clock=hands.clock())
    assert str(path) in caught.value.message
    with pytest.raises(StoreError, match="this is no file of client keys"):
        ring.create("laptop")
    assert path.read_text() == content


def _no_folder(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")


def _a_folder(path: Path) -> None:
    path.mkdir(parents=True)


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        (_no_folder, lambda ring: ring.create("laptop")),
        (_a_folder, lambda ring: ring.create("laptop")),
        (_a_folder, lambda ring: ring.entries()),
    ],
)
def test_a_place_that_is_none_is_named(
    path: Path,
    ring: KeyRing,
    stage: Callable[[Path], None],
    act: Callable[[KeyRing], object],
) -> None:
    """Where keys cannot be kept, the line says where and what to set."""
    stage(path)
    with pytest.raises(BearerdError, match=re.escape(str(path.parent))) as caught:
        act(ring)
    assert "keys_file" in caught.value.message


def test_a_lock_that_is_not_let_go_is_named(path: Path) -> None:
    """Whoever holds it for long is in trouble; waiting for ever would hide that."""
    holder, waiter = KeyFile(path), KeyFile(path, lock_timeout_seconds=0.01)
    with holder.lock(), pytest.raises(StoreError, match=r"held this lock for 0\.01 s"):
        waiter.lock().__enter__()
    with waiter.lock():
        assert path.with_name("keys.json.lock").exists()


def test_a_first_key_that_cannot_be_shown_is_not_made(ring: KeyRing) -> None:
    """Else it would be good, and known to nobody."""
    ring.path.with_name("client-key").mkdir(parents=True)
    with pytest.raises(StoreError, match="client-key: cannot be written"):
        ring.create_first()
    assert ring.names() == ()


PROGRAM = """
import sys
from pathlib import Path
from bearerd.keys.file import KeyFile
from bearerd.keys.ring import KeyRing

path, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ring = KeyRing.load(path)
for number in range(first, first + count):
    ring.create(f"agent-{number}")
print(ring.create_first())
"""


def test_processes_that_write_at_once_lose_no_key(path: Path) -> None:
    """Four processes, ten keys each: the lock beside the file makes it forty."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), str(first), "10"],
            stdout=subprocess.PIPE,
        )
        for first in range(0, 40, 10)
    ]
    for process in processes:
        response, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert response.strip() == b"None"
    names = KeyRing.load(path).names()
    assert sorted(names) == sorted(f"agent-{number}" for number in range(40))
    assert path.with_name("keys.json.lock").exists()


def test_one_of_many_that_start_at_once_makes_the_first_key(path: Path) -> None:
    """And the plain file holds the key that is good."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), "0", "0"],
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    responses = [process.communicate(timeout=60)[0].strip() for process in processes]
    first = str(path.with_name("client-key")).encode()
    assert sorted(responses) == sorted([b"None", b"None", b"None", first])
    ring = KeyRing.load(path)
    assert ring.names() == ("default",)
    assert ring.find(Path(first.decode()).read_bytes().strip()) is not None
