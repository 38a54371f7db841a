"""The fleet and its alerts in Django admin: to look at, never to write."""

from observability.admin import alerts, fleet

__all__ = ["alerts", "fleet"]
