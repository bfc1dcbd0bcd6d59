"""The store of a credential: its interface, and its implementation as a file."""
