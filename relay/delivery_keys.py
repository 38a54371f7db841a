"""The keys that sign what leaves. See docs/attested-delivery.md, and participants.signing_keys for how they live."""

from __future__ import annotations

from django.conf import settings

from participants import signing_keys
from participants.signing_keys import RotationUnderWay, Signer, SigningKeys, SigningKeyUnreadable, base64url
from relay.models import DeliveryKey

__all__ = [
    "DeliveryKeyUnreadable",
    "Keyring",
    "RotationUnderWay",
    "Signer",
    "base64url",
    "ensure",
    "published",
    "replace",
    "reseal",
    "rotate",
    "unsealed",
]


class DeliveryKeyUnreadable(SigningKeyUnreadable):
    code = "delivery-key-unreadable"
    title = "The delivery key cannot be read"


keys = SigningKeys(
    DeliveryKey,
    "delivery key",
    lead=lambda: settings.DELIVERY_KEY_LEAD,
    overlap=lambda: settings.DELIVERY_KEY_OVERLAP,
    unreadable=DeliveryKeyUnreadable,
)
ensure, rotate, replace, published = keys.ensure, keys.rotate, keys.replace, keys.published
reseal, unsealed = keys.reseal, keys.unsealed


class Keyring(signing_keys.Keyring):
    """Of the delivery keys."""

    def __init__(self) -> None:
        super().__init__(keys)
