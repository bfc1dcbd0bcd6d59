"""The command line: `bearerd COMMAND`. One file for each command, in `commands`.

`errors.ExitCode` has the exit codes. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from typing import Final

from bearerd.cli.program import run

COMMANDS: Final = {
    "serve": "Run the daemon that agents connect to.",
    "login": "Sign in, and store the login of a profile.",
    "logout": "Sign out, and remove the stored login.",
    "status": "Show the state of the login and of the daemon.",
    "token": "Print a valid access token.",
    "key": "Create, list and revoke client keys.",
    "adopt": "Confirm the account that the store has now.",
    "doctor": "Check settings, store, login and ports, and suggest remedies.",
    "demo": "Show agents that share one login, without bearerd and through it.",
    "selftest": "Verify that processes on one store refresh once, on this machine.",
    "sandbox": "Run a stand-in authority and upstream, for your own tests.",
}
"""Each command and its line of help. The module of that name has its `register`."""


def main() -> int:
    """Run the command line of this process and return its exit code."""
    return run(COMMANDS, sys.argv[1:])
