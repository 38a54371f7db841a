"""How our authentication stands in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from participants.authentication import IsParticipant, IsStaffKey

_HEADER = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
_PARTICIPANT = {**_HEADER, "description": "A participant's key."}
_STAFF = {**_HEADER, "description": "The staff key (`DMR_ADMIN_API_KEY`)."}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A participant's key, the staff key, or either: as the view's permissions have it."""

    target_class = "participants.authentication.ApiKeyAuthentication"
    name = ["ApiKey", "StaffKey"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        wanted = auto_schema.view.permission_classes
        if IsStaffKey in wanted:
            return [{"StaffKey": []}]
        return [{"ApiKey": []}] if IsParticipant in wanted else [{"ApiKey": []}, {"StaffKey": []}]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [_PARTICIPANT, _STAFF]


class SourceNetworkScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "participants.authentication.SourceNetworkAuthentication"
    name = "ApiKeyOrSourceNetwork"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {**_HEADER, "description": "A participant's key; none from where staff have it believed without."}


class ClientScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Of the second generation's clients: `Authorization: <base64("key:secret")>`, or a key as everywhere."""

    target_class = "participants.api.clients.ClientAuthentication"
    name = "Authorization"

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in (self.name, *ApiKeyScheme.name)]

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": self.name, "description": 'base64 of "name:key".'}
