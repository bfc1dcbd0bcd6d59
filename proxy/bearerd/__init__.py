"""The bearerd daemon: one owner of a ChatGPT login, and a relay for its agents.

This module has the version and nothing else. Importing it does no work.
"""

__version__ = "0.1.0"
