"""What path suites share: bearerd in this process or in one of its own, clients, a clock
moved by hand, and the canary that looks for secrets in all they emit.

Everything here is real: sockets, files, processes. The sandbox is authority and upstream.
Nothing waits by sleeping: what a test waits for rings a bell, or is a line that arrives.
"""

from tests.support.canary import Canary
from tests.support.client import Client, Reply
from tests.support.clock import ManualClock
from tests.support.command import call_command, run_in_process
from tests.support.daemon import Daemon, Start
from tests.support.login import opaque_login, read_login, tokens_of, write_login
from tests.support.process import Finished, Launch, ServeProcess, run_command

__all__ = [
    "Canary",
    "Client",
    "Daemon",
    "Finished",
    "Launch",
    "ManualClock",
    "Reply",
    "ServeProcess",
    "Start",
    "call_command",
    "opaque_login",
    "read_login",
    "run_command",
    "run_in_process",
    "tokens_of",
    "write_login",
]
