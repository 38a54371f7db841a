"""The sidebar: the pages of the admin by what staff come to do. What somebody may not see is not offered to them.

A model that is not named here stands at the end of its app's group, so that no page is ever out of reach.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.templatetags.static import static
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Text = str | Promise
OTHER = "article"  # icon of a model that is not named


@dataclass(frozen=True)
class Page:
    icon: str
    title: Text = ""  # else the plural of its model


@dataclass(frozen=True)
class Group:
    title: Text
    pages: dict[str, Page]  # by label of the model, such as `participants.room`
    apps: tuple[str, ...] = field(default=())  # whose other models stand here too


GROUPS = (
    Group(
        _("Registry"),
        {
            "participants.institution": Page("account_balance"),
            "participants.participant": Page("smart_toy"),
            "participants.room": Page("forum"),
            "participants.apikey": Page("key"),
            "participants.publickey": Page("vpn_key"),
            "participants.listkey": Page("verified"),
            "participants.endpointterms": Page("lan"),
            "participants.outage": Page("event_busy"),
            "participants.announcement": Page("campaign"),
        },
        apps=("participants",),
    ),
    Group(
        _("Joining"),
        {
            "participants.application": Page("how_to_reg"),
            "participants.invitation": Page("mark_email_read"),
            "participants.mail": Page("outgoing_mail"),
        },
    ),
    Group(
        _("Messages"),
        {
            "relay.delivery": Page("local_shipping"),
            "relay.message": Page("mail"),
            "relay.breaker": Page("heart_broken"),
            "relay.deadletterjob": Page("restart_alt"),
            "relay.storedbytes": Page("database"),
            "relay.deliverykey": Page("vpn_key"),
        },
        apps=("relay",),
    ),
    Group(
        _("Releases"),
        {
            "updates.release": Page("package_2"),
            "updates.rollout": Page("rocket_launch"),
            "updates.target": Page("target"),
            "updates.targetevent": Page("timeline"),
            "updates.staffkey": Page("signature"),
        },
        apps=("updates",),
    ),
    Group(
        _("Watch"),
        {
            "observability.instance": Page("monitor_heart", _("Fleet")),
            "observability.alert": Page("notifications"),
        },
        apps=("observability",),
    ),
    Group(
        _("Staff"),
        {
            "auth.user": Page("group", _("Staff accounts")),
            "participants.change": Page("history", _("Audit log")),
        },
        apps=("auth", "staff"),
    ),
)


def groups(available_apps: Iterable[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """The sidebar's groups, from what the site lists for a user, as the theme's template takes them."""
    models = {model["model"]._meta.label_lower: model for app in available_apps for model in app["models"]}
    named = {label for group in GROUPS for label in group.pages}
    home = reverse("admin:index")
    first = {"title": _("Today"), "icon": "today", "link": home, "active": path == home, "has_permission": True}
    found: list[dict[str, Any]] = [{"title": "", "items": [first]}]
    for group in GROUPS:
        others = {
            label: Page(OTHER) for label in models if label not in named and label.partition(".")[0] in group.apps
        }
        items = [item(models[label], page, path) for label, page in (group.pages | others).items() if label in models]
        if items:
            found.append({"title": group.title, "items": items})
    return found


def item(model: dict[str, Any], page: Page, path: str) -> dict[str, Any]:
    link = model["admin_url"]
    return {
        "title": page.title or model["name"],
        "icon": page.icon,
        "link": link,
        "active": bool(link) and path.startswith(link),
        "has_permission": bool(link),
    }


def stylesheet(request: Any) -> str:
    """Ours, beside the theme's."""
    return static("staff/admin.css")


def script(request: Any) -> str:
    return static("staff/admin.js")
