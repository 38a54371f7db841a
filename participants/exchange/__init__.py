"""Participants in files and back: CSV and JSON, the same columns in both (docs/exchange.md)."""
