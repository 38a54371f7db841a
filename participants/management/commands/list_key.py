"""`manage.py list_key rotate [--now] [--reason TEXT] --user NAME`, `… list`: what signs the participant list."""

from __future__ import annotations

from participants import signed_list
from participants.management.commands._signing_keys import SigningKeyCommand


class Command(SigningKeyCommand):
    help = "Rotates and lists the keys that sign the list of participants."
    keys = signed_list.keys
