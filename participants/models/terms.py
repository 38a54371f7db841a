"""How a participant's endpoint is called, where that differs from all others."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext

from participants.models.registry import Participant


class EndpointTerms(models.Model):
    """Changed by participants.endpoint_terms alone. Participants that are called like all others have no row."""

    participant = models.OneToOneField(Participant, on_delete=models.CASCADE, primary_key=True, related_name="terms")
    version = models.PositiveIntegerField(default=0)  # counts up, and never begins again
    allowed_networks = models.CharField(max_length=200, blank=True)
    authority = models.TextField(blank=True)  # PEM: who may vouch for the endpoint; empty: the system's authorities
    client_certificate = models.TextField(blank=True)  # PEM: what we show it, with what signed that
    sealed_key = models.TextField(blank=True, editable=False)  # of the client certificate; dmr_project.lib.sealing
    expires_at = models.DateTimeField("certificates expire", null=True)  # the first of them

    class Meta:
        verbose_name = verbose_name_plural = "endpoint terms"

    def __str__(self) -> str:
        return gettext("of %(participant)s") % {"participant": self.participant}

    @property
    def is_set(self) -> bool:
        return bool(self.allowed_networks or self.authority or self.client_certificate)
