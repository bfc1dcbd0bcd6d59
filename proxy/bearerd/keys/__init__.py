"""Client keys."""
