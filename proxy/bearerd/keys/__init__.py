"""Client keys: what lets a client in where a listener requires a key."""
