"""`manage.py delivery_key rotate [--now] [--reason TEXT] --user NAME`, `… list`: the keys that sign what leaves."""

from __future__ import annotations

from participants.management.commands._signing_keys import SigningKeyCommand
from relay import delivery_keys


class Command(SigningKeyCommand):
    help = "Rotates and lists the keys that sign what leaves."
    keys = delivery_keys.keys
