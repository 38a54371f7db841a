"""The registry's metrics; explained in docs/metrics.md."""

from prometheus_client import Counter

BAD_KEYS = Counter("dmr_bad_keys_total", "Keys that nobody has, by whether they were looked up.", ["result"])
LOG_INS_REFUSED = Counter("dmr_log_ins_refused_total", "Log-ins of staff that failed.")
KEYLESS = Counter("dmr_keyless_requests_total", "Messages believed by their source network, without a key.")
OUTAGES = Counter("dmr_outages_total", "Outages of participants, by what was said of them.", ["event"])
MAILS = Counter("dmr_mails_total", "Mails to those who join, by result.", ["result"])
APPLICATIONS = Counter("dmr_applications_total", "Applications to join, by what became of them.", ["step"])
KEY_NOTICES = Counter("dmr_key_notices_total", "Keys whose end was told to contacts, by days ahead.", ["days"])
