"""The keys that sign what leaves, in Django admin."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from participants.admin.signing_keys import SigningKeyAdmin
from participants.models import SigningKey
from relay import delivery_keys
from relay.models import DeliveryKey


@admin.register(DeliveryKey)
class DeliveryKeyAdmin(SigningKeyAdmin):
    keys = delivery_keys.keys
    permission = "relay.rotate_deliverykey"
    rotates = _("Rotate the delivery key")
    warning = _(
        "Only if a key may have leaked: a new one signs at once, and all others are revoked. Recipients that do not "
        "fetch the keys again refuse what comes."
    )

    @admin.display(description=_("public key"))
    def public(self, row: SigningKey) -> str:
        return f"whpk_{row.public_key}"
