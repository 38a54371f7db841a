"""Names of models, fields and states are translated, without each saying so: what Django derives is marked here.

A model's `verbose_name` where it has none of its own, a field's, and the label of a choice are English words made of
the name in the code. Marked at the start and not in each class, they stay out of the code and of the migrations.
tests/texts.py collects them for the catalogue in the same way.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db.models import Choices, Field
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

OURS = ("participants", "relay", "updates", "observability", "staff")
# What declares sentences that rows keep (dmr_project.lib.sentences). Whoever shows a row may never have loaded what
# wrote it: the web processes know none of what beat and worker do.
WRITERS = (
    "dmr_project.lib.http",
    "observability.alerts",
    "participants.claims",
    "participants.endpoint_terms",
    "participants.key_rotation",
    "participants.life",
    "participants.outages",
    "relay.delivery.dead_letter",
    "relay.delivery.failures",
    "relay.delivery.retry",
    "relay.delivery.settle",
    "relay.delivery.transport",
    "relay.inbox.answers",
    "relay.routing",
    "updates.agent_protocol",
    "updates.releases",
    "updates.reports",
    "updates.rollouts",
    "updates.scheduler",
    "updates.signatures",
    "updates.sparing",
    "updates.targets",
    "updates.waves",
)


def mark_all() -> None:
    """Before any form or admin is made: those copy the names."""
    for config in our_apps():
        config.verbose_name = _marked(config.verbose_name)
        for model in config.get_models():
            _mark(model._meta)
    for choices in our_choices():
        for member in choices:
            member._label_ = _marked(member.label)


def load_sentences() -> None:
    """So that each process knows again what another wrote."""
    for name in WRITERS:
        importlib.import_module(name)


def our_apps() -> Iterator[Any]:
    return (config for config in apps.get_app_configs() if config.name in OURS)


def our_choices(parent: type[Choices] = Choices) -> Iterator[Any]:
    for each in parent.__subclasses__():
        if each.__module__.split(".")[0] in OURS:
            yield each
        yield from our_choices(each)


def _mark(meta: Any) -> None:
    plural = str(meta.verbose_name_plural)  # Django's own is the singular and an s
    meta.verbose_name = _marked(meta.verbose_name)
    meta.verbose_name_plural = gettext_lazy(plural)
    for field in meta.get_fields():
        if isinstance(field, Field):
            field.verbose_name = _marked(field.verbose_name)
            field.help_text = _marked(field.help_text)
            if field.choices:
                field.choices = [(value, _marked(label)) for value, label in field.choices]


def _marked(text: Any) -> Any:
    return text if isinstance(text, Promise) or not text else gettext_lazy(text)
