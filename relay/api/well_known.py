"""The public parts of the keys that sign what leaves, for all who verify it. See docs/attested-delivery.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from dmr_project.lib import schema
from dmr_project.lib.api import APIEndpoint, moment
from participants import signing_keys
from relay import delivery_keys
from relay.models import DeliveryKey

MAX_AGE = 300  # seconds; less than the shortest time for which a key is published before it signs

_PARAMETERS = [OpenApiParameter("If-None-Match", str, "header", description="The ETag of the keys that you have.")]
_WEBHOOK_KEY = schema.shape(
    keyId=schema.KEY_ID,
    publicKey=schema.text("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
    state=schema.choice(DeliveryKey.State.values),
    signsFrom=schema.TIME,
    publishedUntil=schema.nullable(schema.TIME),
)
_NOT_MODIFIED: dict[Any, Any] = {304: None}
_JWKS = {**schema.json(schema.shape(keys=schema.array(schema.JWK))), **_NOT_MODIFIED}
_KEYS = {**schema.json(schema.shape(keys=schema.array(_WEBHOOK_KEY))), **_NOT_MODIFIED}


def webhook_key(row: DeliveryKey) -> dict[str, Any]:
    """As Standard Webhooks writes public keys."""
    return {
        "keyId": row.key_id,
        "publicKey": f"whpk_{row.public_key}",
        "state": row.state(timezone.now()).value,
        "signsFrom": moment(row.signs_from),
        "publishedUntil": moment(row.published_until),
    }


class _Published(APIEndpoint):
    """The keys to accept, with an ETag; may be kept for MAX_AGE."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    shape: Callable[[DeliveryKey], dict[str, Any]]

    def answer(self, request: Request) -> HttpResponse:
        body = json.dumps({"keys": [type(self).shape(row) for row in delivery_keys.published()]}).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": f"public, max-age={MAX_AGE}"}
        response = HttpResponse(body, content_type="application/json", headers=headers)
        found: HttpResponse = get_conditional_response(request, etag=tag, response=response) or response
        return found


class JsonWebKeys(_Published):
    shape = staticmethod(signing_keys.jwk)

    @extend_schema(operation_id="delivery_keys_jwks", parameters=_PARAMETERS, responses=_JWKS)
    def get(self, request: Request) -> HttpResponse:
        """The keys that sign what we deliver, as JSON Web Keys (RFC 7517), with an ETag."""
        return self.answer(request)


class WebhookKeys(_Published):
    shape = staticmethod(webhook_key)

    @extend_schema(operation_id="delivery_keys_webhooks", parameters=_PARAMETERS, responses=_KEYS)
    def get(self, request: Request) -> HttpResponse:
        """The same as Standard Webhooks writes public keys, with an ETag."""
        return self.answer(request)
