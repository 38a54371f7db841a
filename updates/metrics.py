"""What updates count; explained in docs/metrics.md. They add up over processes."""

from prometheus_client import Counter

TRANSITIONS = Counter("dmr_target_transitions_total", "Targets that changed state, by new state.", ["state"])
# result: taken, repeated, refused (an offer that no longer stands), contradiction
REPORTS = Counter("dmr_agent_reports_total", "Reports of agents, by result.", ["result"])
