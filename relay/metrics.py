"""The relay's metrics; explained in docs/metrics.md. They add up over processes."""

from prometheus_client import Counter, Gauge, Histogram

# By room and type: through relay.counting alone, which bounds the rooms.
ACCEPTED = Counter(
    "dmr_messages_accepted_total",
    "Messages stored and answered with 202, repeats not counted.",
    ["room", "sender_type"],
)
REPEATED = Counter(
    "dmr_messages_repeated_total", "Repeats of an accepted message, given the first answer.", ["room", "sender_type"]
)
REFUSED = Counter("dmr_messages_refused_total", "Messages not accepted, by problem code.", ["code"])
RATE_LIMIT_UNAVAILABLE = Counter(
    "dmr_rate_limit_unavailable_total",
    "Messages that no rate limited, because the shared buckets could not be asked.",
)
ATTEMPTS = Counter("dmr_delivery_attempts_total", "Attempts at a delivery, by result.", ["result"])
SETTLED = Counter("dmr_deliveries_settled_total", "Deliveries that ended.", ["state", "room", "recipient_type"])
ERRORS_SENT = Counter("dmr_error_messages_total", "Error messages to senders.")
DEAD_LETTERS = Counter("dmr_dead_letters_handled_total", "Dead letters that were requeued or discarded.", ["action"])
RECEIPTS_SENT = Counter("dmr_receipts_total", "Receipts to senders that want them.")
ANNOUNCED = Counter("dmr_announcements_total", "Messages that announce something, by what.", ["kind"])
ACCEPT_LATENCY = Histogram(
    "dmr_accept_latency_seconds",
    "From having read a request to its 202.",
    ["request"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
LATENCY = Histogram(
    "dmr_delivery_latency_seconds",
    "From accepting a message to its recipient's answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400),
)
PUMP_RUNS = Counter("dmr_pump_runs_total", "Runs of pumps that began, by what began them.", ["by"])
WAKES = Counter("dmr_wakes_total", "Wake-ups of a pump, by result.", ["result"])
LEASES_LOST = Counter("dmr_leases_lost_total", "Claims whose lease ran out: a worker died or hung.")
INBOX_POLLS = Counter("dmr_inbox_polls_total", "Polls of inboxes, by what they were answered.", ["result"])
INBOX_WAITING = Gauge("dmr_inbox_waiting", "Polls of inboxes that wait now.", multiprocess_mode="livesum")
INBOX_LEASED = Counter("dmr_inbox_leased_total", "Messages handed out under a lease.")
INBOX_LEASES_LOST = Counter("dmr_inbox_leases_lost_total", "Leases of recipients that ran out.")
INBOX_SETTLED = Counter("dmr_inbox_settled_total", "Leases that recipients settled, by result.", ["result"])
BREAKERS = Counter(
    "dmr_breaker_transitions_total", "Breakers of recipients that opened, closed or parked.", ["state"]
)
