"""The public keys that participants publish for one another: to encrypt for them, to verify what they signed."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from participants.models.registry import Participant
from participants.querysets import PublicKeyQuerySet


class PublicKey(models.Model):
    """A JSON Web Key of a participant. Never changed and never deleted: an old signature names its key for good."""

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    participant = models.ForeignKey(
        Participant, on_delete=models.PROTECT, related_name="public_keys", verbose_name=_("participant")
    )
    kid = models.CharField(_("key id"), max_length=128)
    thumbprint = models.CharField(_("thumbprint"), max_length=43, help_text=_("RFC 7638: made of the key itself."))
    kind = models.CharField(_("kind"), max_length=10)
    use = models.CharField(_("use"), max_length=3, blank=True)
    alg = models.CharField(_("algorithm"), max_length=20, blank=True)
    members: models.JSONField[Any, Any] = models.JSONField(_("key"))
    created_at = models.DateTimeField(_("published"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), null=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True)
    revoked_reason = models.CharField(_("why it was revoked"), max_length=255, blank=True)

    objects = PublicKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("public key")
        verbose_name_plural = _("public keys")
        ordering = ("-id",)
        permissions = (("revoke_publickey", "Can revoke public keys"),)
        constraints = (
            models.UniqueConstraint(fields=("participant", "kid"), name="public_key_kid_is_unique"),
            models.UniqueConstraint(fields=("participant", "thumbprint"), name="public_key_is_published_once"),
            models.CheckConstraint(condition=Q(use__in=("sig", "enc", "")), name="public_key_use_is_known"),
        )

    def __str__(self) -> str:
        return f"{self.kid} of {self.participant}"

    @property
    def is_valid(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())
