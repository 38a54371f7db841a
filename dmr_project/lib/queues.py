"""The Celery queues. A test proves that the worker consumes every one of them."""

DELIVERY = "delivery"  # wakes a pump; carries no payload, and may be lost
MAINTENANCE = "maintenance"  # sweeps, ticks and other periodic work

ALL = (DELIVERY, MAINTENANCE)
