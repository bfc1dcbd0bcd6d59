"""`python -m bearerd` is `bearerd`, for where scripts are not on the path."""

from __future__ import annotations

import sys

from bearerd.cli import main

if __name__ == "__main__":
    sys.exit(main())
