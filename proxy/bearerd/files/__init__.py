"""Files: replaced whole, locked, and where they lie."""
