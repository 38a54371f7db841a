"""Keys that sign what DMR says, and the one for the published list of participants."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from participants.querysets import SigningKeyQuerySet


def ends_in_order(name: str) -> models.CheckConstraint:
    """A constraint of that name: a key first stops to sign, and then to be published."""
    return models.CheckConstraint(
        condition=Q(signs_until__isnull=True, published_until__isnull=True)
        | Q(
            signs_until__isnull=False,
            published_until__isnull=False,
            signs_until__gte=F("signs_from"),
            published_until__gte=F("signs_until"),
        ),
        name=name,
    )


class SigningKey(models.Model):
    """An ed25519 key. Its state follows from its times, so that nothing has to switch it. See signing_keys."""

    class State(models.TextChoices):
        NEXT = "next"  # published ahead, so that recipients know it when it begins to sign
        SIGNING = "signing"
        RETIRED = "retired"  # signs no more, and is still published
        WITHDRAWN = "withdrawn"  # published no more
        REVOKED = "revoked"  # taken away at once: it may have leaked

    number = models.PositiveIntegerField(unique=True)  # counts up: of two processes that make the next, one wins
    key_id = models.CharField("key id", max_length=43, unique=True)  # JWK thumbprint, RFC 7638
    public_key = models.CharField(max_length=44)  # base64 of the 32 raw bytes
    sealed = models.TextField(editable=False)  # the private key; see dmr_project.lib.sealing
    created_at = models.DateTimeField(auto_now_add=True)
    signs_from = models.DateTimeField()
    signs_until = models.DateTimeField(null=True)
    published_until = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = SigningKeyQuerySet.as_manager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.key_id

    def state(self, now: datetime) -> State:
        if self.revoked_at is not None:
            return self.State.REVOKED
        if self.published_until is not None and self.published_until <= now:
            return self.State.WITHDRAWN
        if self.signs_until is not None and self.signs_until <= now:
            return self.State.RETIRED
        return self.State.SIGNING if self.signs_from <= now else self.State.NEXT


class ListKey(SigningKey):
    """Signs the published list of participants; participants.signed_list."""

    class Meta:
        verbose_name = _("list key")
        verbose_name_plural = _("list keys")
        ordering = ("-number",)
        permissions = (("rotate_listkey", "Can rotate and replace list keys"),)
        constraints = (ends_in_order("list_key_ends_in_order"),)
