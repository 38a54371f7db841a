"""Wiring: settings, URLs, Celery, the processes. Imported by nobody but what starts the product."""

__version__ = "0.1.0"
