"""System checks: each bad combination of settings has an id and a hint."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ValidationError

from dmr_project.lib.network import forbidden_part

SECRET_KEY_LENGTH = 50
SECRET_KEY_VARIETY = 5  # different characters, as Django counts them
_GENERATE = "python3 -c 'import secrets; print(secrets.token_urlsafe({}))'"


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
    if settings.IS_PRODUCTION and settings.REQUIRE_SECOND_FACTOR == ["off"]:
        found.append(
            Warning(
                "Nobody is asked for a second factor: who learns a password of staff is in.",
                hint="Unset DMR_REQUIRE_SECOND_FACTOR, or name roles in it.",
                id="dmr.W004",
            )
        )
    is_clear = settings.EMAIL_HOST_USER and not (settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL)
    if settings.IS_PRODUCTION and is_clear:
        found.append(
            Warning(
                "The mail server's password is sent in the clear.",
                hint="Append ?tls=starttls to DMR_EMAIL_URL, or write smtps://.",
                id="dmr.W003",
            )
        )
    return found


# What Django's own checks look for by name: ours are the same, and pass machines by.
PAGES_ARE_GUARDED_BY = ("dmr_project.pages.Csrf", "dmr_project.pages.Frames")


@register(Tags.security)
def check_pages_are_guarded(**_: Any) -> list[CheckMessage]:
    """Stands in for security.W002 and W003, which are silenced."""
    return [
        Error(
            f"{each} is not in MIDDLEWARE: pages are not guarded.",
            hint="Put it back; see dmr_project/pages.py.",
            id="dmr.E005",
        )
        for each in PAGES_ARE_GUARDED_BY
        if each not in settings.MIDDLEWARE
    ]


@register(Tags.security)
def check_private_networks(**_: Any) -> list[CheckMessage]:
    found = [(each, forbidden_part(each)) for each in settings.ALLOWED_PRIVATE_NETWORKS]
    return [
        Error(
            f"DMR_ALLOWED_PRIVATE_NETWORKS: {network} holds {forbidden}, which is never called.",
            hint="Name the networks in which participants lie, such as 10.20.0.0/16, and nothing of this machine.",
            id="dmr.E004",
        )
        for network, forbidden in found
        if forbidden is not None
    ]


@register(Tags.security)
def check_admin_key(**_: Any) -> list[CheckMessage]:
    key = settings.ADMIN_API_KEY
    if key and len(key) < 12:
        return [
            Error(
                "DMR_ADMIN_API_KEY is shorter than 12 characters.",
                hint=f"Generate one: {_GENERATE.format(32)}",
                id="dmr.E001",
            )
        ]
    return []


@register(Tags.security)
def check_secret_key(**_: Any) -> list[CheckMessage]:
    """In production a start with a key that can be guessed is refused: whoever has it makes sessions at will."""
    key = settings.SECRET_KEY
    if not settings.IS_PRODUCTION or (len(key) >= SECRET_KEY_LENGTH and len(set(key)) >= SECRET_KEY_VARIETY):
        return []
    return [
        Error(
            f"DMR_SECRET_KEY has {len(key)} characters, {len(set(key))} of them different; production asks for "
            f"{SECRET_KEY_LENGTH} random ones or more.",
            hint=f"Generate one: {_GENERATE.format(50)}",
            id="dmr.E002",
        )
    ]


@register(Tags.security)
def check_admin_password(**_: Any) -> list[CheckMessage]:
    """In production the first account's password keeps the rules that every other password keeps."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.password_validation import validate_password

    if not settings.IS_PRODUCTION or not settings.ADMIN_PASSWORD:
        return []
    try:
        validate_password(settings.ADMIN_PASSWORD, get_user_model()(username=settings.ADMIN_USER))
    except ValidationError as error:
        return [
            Error(
                f"DMR_ADMIN_PASSWORD is too weak for production: {' '.join(error.messages)}",
                hint="Choose another, or unset it: one is made and printed once. Only the first start uses it.",
                id="dmr.E003",
            )
        ]
    return []


@register(Tags.security)
def check_second_factor(**_: Any) -> list[CheckMessage]:
    from staff import roles

    said = settings.REQUIRE_SECOND_FACTOR
    if said in (["off"], ["all"]) or set(said) <= roles.ROLES.keys():
        return []
    return [
        Error(
            f"DMR_REQUIRE_SECOND_FACTOR: {','.join(said)} names what is no role.",
            hint=f"Write off, all, or some of {','.join(roles.ROLES)}.",
            id="dmr.E006",
        )
    ]


@register(Tags.security)
def check_sign_on(**_: Any) -> list[CheckMessage]:
    from staff import roles

    found: list[tuple[str, str, str]] = []
    if settings.OIDC_ISSUER and not (settings.OIDC_CLIENT_ID and settings.OIDC_CLIENT_SECRET):
        hint = "Set DMR_OIDC_CLIENT_ID and DMR_OIDC_CLIENT_SECRET to what the provider gave us."
        found.append(("dmr.E007", "DMR_OIDC_ISSUER is set without a client.", hint))
    if settings.IS_PRODUCTION and settings.OIDC_ISSUER.startswith("http:"):
        hint = "Write https://: whoever could alter its answers could be anybody here."
        found.append(("dmr.E008", "DMR_OIDC_ISSUER is not https.", hint))
    unknown = {role for each in settings.OIDC_ROLES.values() for role in each} - roles.ROLES.keys()
    if unknown:
        hint = f"After each = stands one of {', '.join(roles.ROLES)}."
        found.append(("dmr.E009", f"DMR_OIDC_ROLES: {', '.join(sorted(unknown))} is no role.", hint))
    if settings.PASSWORD_LOG_IN == "superusers" and not settings.OIDC_ISSUER:
        hint = "Set DMR_OIDC_ISSUER, or leave DMR_PASSWORD_LOG_IN out."
        found.append(("dmr.E010", "Only superusers could log in: there is no single sign-on.", hint))
    if settings.OIDC_ISSUER and "openid" not in settings.OIDC_SCOPES.split():
        found.append(("dmr.E011", "DMR_OIDC_SCOPES lacks openid.", "Write such as: openid profile email."))
    return [Error(said, hint=hint, id=id) for id, said, hint in found]
