"""How our authentication stands in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "participants.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-Api-Key"}


class SourceNetworkScheme(ApiKeyScheme):  # type: ignore[no-untyped-call]
    target_class = "participants.authentication.SourceNetworkAuthentication"
    name = "ApiKeyOrSourceNetwork"


class ClientScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Of the second generation's clients: `Authorization: <base64("key:secret")>`."""

    target_class = "participants.api.clients.ClientAuthentication"
    name = "Authorization"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "Authorization"}
