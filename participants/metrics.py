"""The registry's metrics; explained in docs/metrics.md."""

from prometheus_client import Counter

BAD_KEYS = Counter("dmr_bad_keys_total", "Keys that nobody has, by whether they were looked up.", ["result"])
KEYLESS = Counter("dmr_keyless_requests_total", "Messages believed by their source network, without a key.")
