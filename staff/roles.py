"""Who of Core's staff may see and do what: the one table of it, and the groups that are made from it.

A role is a group of the same name. What its members may do follows from GRANTS alone: `sync()` runs after every
migration and at every start, so that a permission given to one of these groups by hand does not last. Whoever adds a
model, an action or a page to the admin names it here; tests/invariants/test_roles_cover_everything.py asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.utils.translation import gettext_lazy as _

VIEWER = "viewer"
OPERATOR = "operator"
REGISTRAR = "registrar"
APPROVER = "approver"
AUDITOR = "auditor"
ADMINISTRATOR = "administrator"

ROLES = {
    VIEWER: _("sees the network and how it is, and changes nothing"),
    OPERATOR: _("keeps the network running: dead letters, breakers, suspensions, releases on their way out"),
    REGISTRAR: _("keeps the registry: institutions, participants, rooms, API keys"),
    APPROVER: _("approves what others brought in: releases, which it publishes too, and applications to join"),
    AUDITOR: _("sees everything, with who did what, and changes nothing"),
    ADMINISTRATOR: _("gives out accounts, roles and signing keys, and helps whoever cannot log in"),
}
EVERYBODY = tuple(ROLES)
NAMES = {
    VIEWER: _("viewer"),
    OPERATOR: _("operator"),
    REGISTRAR: _("registrar"),
    APPROVER: _("approver"),
    AUDITOR: _("auditor"),
    ADMINISTRATOR: _("administrator"),
}


def name_of(role: str) -> str:
    """For people; a group that is no role is called as it is."""
    return str(NAMES.get(role, role))


@dataclass(frozen=True)
class Grant:
    """What the roles may do, in words and as permissions (`app.codename`)."""

    what: str
    roles: tuple[str, ...]
    permissions: tuple[str, ...]


def _grant(what: str, roles: Iterable[str], *permissions: str) -> Grant:
    return Grant(what, tuple(roles), permissions)


GRANTS = (
    _grant(
        "See institutions, participants, rooms and their members, public keys, endpoint terms and announcements",
        EVERYBODY,
        "participants.view_announcement",
        "participants.view_endpointterms",
        "participants.view_institution",
        "participants.view_participant",
        "participants.view_publickey",
        "participants.view_room",
        "participants.view_membership",
    ),
    _grant("See the keys that sign the list of participants", EVERYBODY, "participants.view_listkey"),
    _grant(
        "See messages (never what they say), deliveries, failed attempts, breakers, stored bytes and delivery keys",
        EVERYBODY,
        "relay.view_message",
        "relay.view_delivery",
        "relay.view_attempt",
        "relay.view_breaker",
        "relay.view_storedbytes",
        "relay.view_deliverykey",
        "relay.view_deadletterjob",
    ),
    _grant(
        "See releases, whose signing keys there are, rollouts and their targets",
        EVERYBODY,
        "updates.view_release",
        "updates.view_staffkey",
        "updates.view_rollout",
        "updates.view_target",
        "updates.view_targetevent",
        "updates.view_report",
    ),
    _grant("See the fleet and its alerts", EVERYBODY, "observability.view_instance", "observability.view_alert"),
    _grant(
        "See API keys (how they begin, and when they were used)",
        (OPERATOR, REGISTRAR, AUDITOR, ADMINISTRATOR),
        "participants.view_apikey",
    ),
    _grant("See outages", EVERYBODY, "participants.view_outage"),
    _grant(
        "See applications to join, invitations and mails",
        (REGISTRAR, APPROVER, AUDITOR),
        "participants.view_application",
        "participants.view_invitation",
        "participants.view_mail",
    ),
    _grant("See who did what", (OPERATOR, AUDITOR, ADMINISTRATOR), "participants.view_change"),
    _grant("See staff accounts", (AUDITOR, ADMINISTRATOR), "auth.view_user"),
    _grant(
        "Register, change and delete institutions, participants, rooms and memberships",
        (REGISTRAR,),
        "participants.add_institution",
        "participants.change_institution",
        "participants.delete_institution",
        "participants.add_participant",
        "participants.change_participant",
        "participants.delete_participant",
        "participants.add_room",
        "participants.change_room",
        "participants.delete_room",
        "participants.add_membership",
        "participants.change_membership",
        "participants.delete_membership",
    ),
    _grant(
        "Export participants, with their contacts, and import them",
        (REGISTRAR,),
        "participants.export_participant",
        "participants.import_participant",
    ),
    _grant("Set the terms on which an endpoint is called", (REGISTRAR,), "participants.change_endpointterms"),
    _grant("Issue API keys", (REGISTRAR,), "participants.add_apikey"),
    _grant(
        "Invite to apply, revoke invitations, enter applications, try mails again",
        (REGISTRAR,),
        "participants.add_invitation",
        "participants.revoke_invitation",
        "participants.add_application",
        "participants.resend_mail",
    ),
    _grant("Take applications into review", (REGISTRAR, APPROVER), "participants.review_application"),
    _grant("Approve and reject applications of others", (APPROVER,), "participants.decide_application"),
    _grant("Suspend and activate participants", (OPERATOR, REGISTRAR), "participants.suspend_participant"),
    _grant("Revoke and reinstate participants", (REGISTRAR,), "participants.revoke_participant"),
    _grant("Announce outages", (OPERATOR, REGISTRAR), "participants.add_outage"),
    _grant("End and cancel outages", (OPERATOR, REGISTRAR), "participants.end_outage"),
    _grant(
        "Revoke API keys and public keys",
        (OPERATOR, REGISTRAR),
        "participants.revoke_apikey",
        "participants.revoke_publickey",
    ),
    _grant("Requeue dead letters", (OPERATOR,), "relay.requeue_delivery"),
    _grant("Discard deliveries", (OPERATOR,), "relay.discard_delivery"),
    _grant("Requeue and discard many dead letters at once", (OPERATOR,), "relay.add_deadletterjob"),
    _grant("Close breakers", (OPERATOR,), "relay.close_breaker"),
    _grant("Rotate and replace delivery keys", (OPERATOR, ADMINISTRATOR), "relay.rotate_deliverykey"),
    _grant("Rotate and replace list keys", (OPERATOR, ADMINISTRATOR), "participants.rotate_listkey"),
    _grant("Import releases", (OPERATOR,), "updates.add_release"),
    _grant("Approve releases of somebody else", (APPROVER,), "updates.approve_release"),
    _grant("Publish approved releases", (APPROVER,), "updates.publish_release"),
    _grant("Withdraw releases", (OPERATOR, APPROVER), "updates.withdraw_release"),
    _grant("Start rollouts", (OPERATOR,), "updates.add_rollout"),
    _grant("Pause, resume and abort rollouts", (OPERATOR,), "updates.steer_rollout"),
    _grant("Register signing keys", (ADMINISTRATOR,), "updates.add_staffkey"),
    _grant("Withdraw signing keys", (OPERATOR, ADMINISTRATOR), "updates.withdraw_staffkey"),
    _grant(
        "Make and change the accounts of others: roles, passwords, sessions",
        (ADMINISTRATOR,),
        "auth.add_user",
        "auth.change_user",
    ),
)

# Models that no page shows by themselves, each with why.
NOT_SHOWN = {
    "participants.registryversion": "a counter for caches",
    "participants.chainhead": "the audit log's newest entry, for whoever appends",
    "participants.calendarfeed": "whose address opens the calendar of outages",
    "participants.claim": "shown on its application's page",
    "participants.archive": "files that the audit log's beginning was moved to",
    "relay.payloaddue": "what retention deletes next",
    "updates.signature": "shown on its release's page",
    "updates.wave": "shown on its rollout's page",
    "updates.installedrelease": "shown as an Instance's version",
    "staff.account": "shown on its user's page",
    "staff.identity": "whether there is one is said on its user's page",
    "staff.secondfactor": "whether there is one is said on its user's page",
    "staff.recoverycode": "of somebody's second factor",
    "staff.guesser": "who is held up is said on its user's page",
    "observability.vitalsigns": "shown on its Instance's page",
    "observability.component": "shown on its Instance's page",
    "observability.statechange": "shown on its Instance's page",
    "observability.alertchange": "shown on its alert's page",
    "observability.watch": "how far the last look at the fleet has come",
}


def permissions_of(role: str) -> set[str]:
    """As `app.codename`."""
    return {permission for grant in GRANTS if role in grant.roles for permission in grant.permissions}


def sync() -> dict[str, tuple[int, int]]:
    """Makes the groups as the table says. Returns role → (permissions given, permissions taken), where any."""
    changed = {}
    with transaction.atomic():
        known = _permissions()
        for role in ROLES:
            group, _is_new = Group.objects.get_or_create(name=role)
            wanted = {known[name] for name in permissions_of(role)}
            held = set(group.permissions.values_list("pk", flat=True))
            if wanted != held:
                group.permissions.set(wanted)
                changed[role] = (len(wanted - held), len(held - wanted))
    return changed


def _permissions() -> dict[str, int]:
    """`app.codename` → primary key, of all that the table names."""
    names = {name for grant in GRANTS for name in grant.permissions}
    found = _stored(names)
    if names - found.keys():
        # After a migration each app makes its own in turn, and not all have had theirs yet.
        for label in sorted({name.partition(".")[0] for name in names - found.keys()}):
            create_permissions(apps.get_app_config(label), verbosity=0, interactive=False)
        found = _stored(names)
    return found


def _stored(names: set[str]) -> dict[str, int]:
    labels = {name.partition(".")[0] for name in names}
    rows = Permission.objects.filter(content_type__app_label__in=labels).values_list(
        "content_type__app_label", "codename", "pk"
    )
    return {f"{label}.{codename}": pk for label, codename, pk in rows if f"{label}.{codename}" in names}


def markdown() -> str:
    """The table as docs/staff.md has it."""
    head = "| | " + " | ".join(ROLES) + " |"
    lines = [head, "|---|" + ":-:|" * len(ROLES)]
    for grant in GRANTS:
        marks = " | ".join("●" if role in grant.roles else "" for role in ROLES)
        lines.append(f"| {grant.what} | {marks} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)
