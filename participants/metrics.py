"""The registry's metrics; explained in docs/metrics.md."""

from prometheus_client import Counter

KEYLESS = Counter("dmr_keyless_requests_total", "Messages believed by their source network, without a key.")
