"""The command line: `bearerd COMMAND`. One file a command: parse, call, print.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a sign-in is needed, 130 interrupted.
Answers go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from typing import Final

from bearerd.cli.program import run

COMMANDS: Final = {
    "serve": "Run the daemon that agents talk to.",
    "login": "Sign in, and keep the login in this profile's store.",
    "logout": "Sign the login out, and remove its file.",
    "status": "Say how the login is, and whether the daemon runs.",
    "token": "Print a valid access token.",
    "key": "Make, list and revoke client keys.",
    "adopt": "Go on with the account that the store holds now.",
    "doctor": "Look at settings, store, login and ports; say what to do.",
    "demo": "Show agents that share one login, without bearerd and through it.",
    "selftest": "Prove that processes on one store refresh once, on this machine.",
    "sandbox": "Run a stand-in authority and upstream, for tests of your own.",
}
"""Each command and its line of help; the command is `register` of its module here."""


def main() -> int:
    """Run the command that this process was started with; return its exit code."""
    return run(COMMANDS, sys.argv[1:])
