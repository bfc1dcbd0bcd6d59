"""What operators see: log, metrics, health, status page. Nobody imports it but above."""
