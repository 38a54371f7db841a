"""What DMR keeps of staff beside Django's users and groups."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models


class Account(models.Model):
    """One a user. Without a row everything is as by default."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="account")
    # Counted up to end every session of the user: one that began under another number is over.
    session_epoch = models.PositiveIntegerField(default=0)
    must_change_password = models.BooleanField(default=False)  # somebody else knows it
    # What they chose in the admin last, for mails to them; empty: DMR_STAFF_LANGUAGE.
    language = models.CharField(max_length=2, choices=settings.LANGUAGES, blank=True, default="", db_default="")

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


class SecondFactor(models.Model):
    """Of a user who has set one up; see staff.second_factor."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="second_factor")
    sealed_secret = models.TextField()
    last_step = models.BigIntegerField()  # of the code that was used last: none up to there counts again
    since = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"second factor of {self.user.get_username()}"


class RecoveryCode(models.Model):
    """For somebody without their authenticator app; counts once."""

    second_factor = models.ForeignKey(SecondFactor, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["second_factor", "digest"], name="recovery_code_once")]

    def __str__(self) -> str:
        return f"recovery code of {self.second_factor_id}"


class Identity(models.Model):
    """Who a user is at the provider of single sign-on; see staff.sign_on.people."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="identity")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_once")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"
