"""What the audit log tells of, in words for people: its rows hold English, whoever did it in whatever language.

A row's action is such as `issue key`, its kind the name of a model such as `apikey`.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from dmr_project.lib import sentences

# Every action that is recorded anywhere; a test compares them with the code.
ACTIONS = (
    gettext_noop("abort"),
    gettext_noop("add"),
    gettext_noop("add account"),
    gettext_noop("announce"),
    gettext_noop("apply"),
    gettext_noop("approve"),
    gettext_noop("archive"),
    gettext_noop("begin review"),
    gettext_noop("change"),
    gettext_noop("change account"),
    gettext_noop("change endpoint terms"),
    gettext_noop("change password"),
    gettext_noop("claim"),
    gettext_noop("close breaker"),
    gettext_noop("code refused"),
    gettext_noop("delete"),
    gettext_noop("denied"),
    gettext_noop("discard"),
    gettext_noop("end"),
    gettext_noop("end sessions"),
    gettext_noop("export"),
    gettext_noop("finish"),
    gettext_noop("import"),
    gettext_noop("invite"),
    gettext_noop("issue key"),
    gettext_noop("join"),
    gettext_noop("key refused"),
    gettext_noop("leave"),
    gettext_noop("let in again"),
    gettext_noop("lift"),
    gettext_noop("link identity"),
    gettext_noop("log in"),
    gettext_noop("log out"),
    gettext_noop("log-in refused"),
    gettext_noop("make"),
    gettext_noop("make calendar address"),
    gettext_noop("offer key"),
    gettext_noop("pause"),
    gettext_noop("publish"),
    gettext_noop("publish key"),
    gettext_noop("register"),
    gettext_noop("reinstate"),
    gettext_noop("reject"),
    gettext_noop("renew recovery codes"),
    gettext_noop("replace"),
    gettext_noop("requeue"),
    gettext_noop("reset password"),
    gettext_noop("resume"),
    gettext_noop("retire"),
    gettext_noop("retire key"),
    gettext_noop("revoke"),
    gettext_noop("revoke key"),
    gettext_noop("revoke public key"),
    gettext_noop("rotate"),
    gettext_noop("set up second factor"),
    gettext_noop("sign"),
    gettext_noop("start"),
    gettext_noop("suspend"),
    gettext_noop("take away second factor"),
    gettext_noop("try again"),
    gettext_noop("unlink identity"),
    gettext_noop("use recovery code"),
    gettext_noop("withdraw"),
)
# What is told of besides the fields of rows.
FIELDS = (
    gettext_noop("by"),
    gettext_noop("count"),
    gettext_noop("format"),
    gettext_noop("key"),
    gettext_noop("left"),
    gettext_noop("method"),
    gettext_noop("path"),
    gettext_noop("roles"),
    gettext_noop("rooms"),
    gettext_noop("times"),
)
KINDS: dict[str, str | Promise] = {"auditlog": _("audit log")}  # which are no models


def action(name: str) -> str:
    return gettext(name) if name else ""


def kind(name: str) -> str:
    for model in apps.get_models() if name and name not in KINDS else ():
        if model._meta.model_name == name:
            return str(model._meta.verbose_name)
    return str(KINDS.get(name, name))


def field(kind_of_row: str, name: str) -> str:
    """A field as its form calls it; else by the name that it was told under."""
    found = _field(kind_of_row, name)
    if found is not None:
        return str(found.verbose_name)
    return gettext(name.replace("_", " ")) if name else ""


def value(kind_of_row: str, name: str, said: Any) -> Any:
    """What an entry says of a field: a state by its label, a sentence in the language of the page."""
    if isinstance(said, list):
        return ", ".join(str(value(kind_of_row, name, each)) for each in said)
    if not isinstance(said, str):
        return said
    if name == "roles" and said:
        return gettext(said)  # as staff.roles calls it
    found = _field(kind_of_row, name)
    labels = dict(found.flatchoices) if found is not None else {}
    return str(labels[said]) if said in labels else sentences.shown(said)


def _field(kind_of_row: str, name: str) -> Any:
    for model in apps.get_models():
        if model._meta.model_name == kind_of_row:
            for each in model._meta.concrete_fields:
                if each.name == name:
                    return each
    return None
