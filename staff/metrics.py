"""Metrics of staff; explained in docs/metrics.md."""

from prometheus_client import Counter

SESSIONS_ENDED = Counter("dmr_staff_sessions_ended_total", "Sessions of staff that were over.", ["reason"])
