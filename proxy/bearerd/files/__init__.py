"""Files: atomic replacement, locks, owners, mounts, and blocking calls in threads."""
