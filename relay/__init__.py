"""MESSAGES: accepted, routed, delivered, or dead letters."""
