"""One client request, there and back. This room knows no settings and no command line."""
