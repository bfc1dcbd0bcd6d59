"""What operators see: log, metrics, health, status page. Only `cli` and `service` import it."""
