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


class Guesser(models.Model):
    """Somebody who failed to log in: an account that is tried, an address, or a known browser; see staff.throttle."""

    key = models.CharField(max_length=80, primary_key=True)
    failures = models.PositiveIntegerField()  # since it was last right, or since they were forgotten
    last_at = models.DateTimeField()

    class Meta:
        # Read by throttle.forget(), which deletes what counts no more.
        indexes = [models.Index(fields=["last_at"], name="guesser_last")]

    def __str__(self) -> str:
        return self.key
