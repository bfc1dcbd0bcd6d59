"""The refresh of a credential: lock, journal, limits, and recovery after a crash."""
