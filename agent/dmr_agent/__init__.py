"""The program beside an Instance: checks in with DMR, verifies and applies signed releases, reports.

It imports nothing of the server. How to run it, and what it guarantees: docs/agent.md.
"""

__version__ = "1.0.0"
