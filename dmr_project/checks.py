"""System checks: each bad combination of settings has an id and a hint."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register


@register(Tags.security, deploy=True)
def check_production(**_: Any) -> list[CheckMessage]:
    """What holds for a deployment, whatever DMR_ENV says."""
    found: list[CheckMessage] = []
    if not settings.IS_PRODUCTION:
        found.append(
            Warning("DMR_ENV is not production.", hint="Set DMR_ENV=production on a deployment.", id="dmr.W001")
        )
    if settings.IS_PRODUCTION and settings.ALLOW_PRIVATE_ENDPOINTS:
        found.append(
            Warning(
                "Participants' endpoints may lie on private addresses.",
                hint="Unset DMR_ALLOW_PRIVATE_ENDPOINTS, unless every participant is inside your own network.",
                id="dmr.W002",
            )
        )
    return found


@register(Tags.security)
def check_admin_key(**_: Any) -> list[CheckMessage]:
    key = settings.ADMIN_API_KEY
    if key and len(key) < 12:
        return [
            Error(
                "DMR_ADMIN_API_KEY is shorter than 12 characters.",
                hint="Generate one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
                id="dmr.E001",
            )
        ]
    return []
