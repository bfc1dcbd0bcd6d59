"""What we hold and how it stays valid. This room knows no server and no client."""
