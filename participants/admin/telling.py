"""Of what participants are told by messages from Dmr: chosen for many at once."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from participants import registry
from participants.admin.bulk import Foreseen, PerhapsWhy, previewed
from participants.admin.look import ModelAdmin, actor
from participants.models import Participant


class ChooseForm(PerhapsWhy):
    announcements = forms.ChoiceField(
        choices=Participant.Announcements.choices,
        label=_("is told by messages from Dmr"),
        help_text=_(
            "Ask their technical contacts first: a client of the first generation may choke on such messages."
        ),
    )
    field_order = ("announcements", "reason")


def told(admin: Any, request: HttpRequest, row: Participant) -> Foreseen:
    if row.is_relay:
        return Foreseen(left=gettext("this relay's own entry"))
    return Foreseen(str(row.get_announcements_display()), gettext("what is chosen here"))


class Telling(ModelAdmin):
    @previewed(
        told,
        description=_("Choose of what they are told by messages from Dmr"),
        permissions=["change"],
        form=ChooseForm,
        done=_("%(count)s changed; %(left)s were told just that before, or may not be changed."),
    )
    def tell(self, request: HttpRequest, rows: list[Participant], said: dict[str, Any]) -> int:
        wanted = said["announcements"]
        return registry.set_announcements(rows, wanted, actor=actor(request), reason=said["reason"])
