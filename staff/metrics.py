"""Metrics of staff; explained in docs/metrics.md."""

from prometheus_client import Counter

SESSIONS_ENDED = Counter("dmr_staff_sessions_ended_total", "Sessions of staff that were over.", ["reason"])
LOG_INS_THROTTLED = Counter(
    "dmr_staff_log_ins_throttled_total", "Log-ins that were not tried, by what had failed too often.", ["by"]
)
SIGN_ONS = Counter("dmr_staff_sign_ons_total", "Log-ins by single sign-on, by result.", ["result"])
CODES = Counter("dmr_staff_codes_total", "Codes of second factors that staff typed, by result.", ["result"])
