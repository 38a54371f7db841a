"""Metrics of the wiring; explained in docs/metrics.md."""

from prometheus_client import Counter

ANSWERS = Counter("dmr_http_answers_total", "Answers to machines (not of pages), by status.", ["status"])
