"""What a store is, and each kind of it."""
