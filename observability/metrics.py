"""Counters of observability; explained in docs/metrics.md. They add up over processes. Gauges: collectors.py."""

from prometheus_client import Counter

CHECK_INS = Counter("dmr_check_ins_total", "Check-ins of agents, by result.", ["result"])
ALERT_CHANGES = Counter("dmr_alert_changes_total", "Alerts opened, worsened, eased, closed.", ["kind", "step"])
ALERT_MAILS = Counter("dmr_alert_mails_total", "Mails about alerts, by result.", ["result"])
