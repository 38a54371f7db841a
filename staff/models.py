"""What DMR keeps of staff beside Django's users and groups."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models


class Account(models.Model):
    """One a user. Without a row everything is as by default."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="account")
    # Counted up to end every session of the user: one that began under another number is over.
    session_epoch = models.PositiveIntegerField(default=0)
    must_change_password = models.BooleanField(default=False)  # somebody else knows it

    def __str__(self) -> str:
        return f"account of {self.user.get_username()}"
