"""What the registry's pages share in Django admin: every change goes through the registry, and so leaves a Change."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dmr_project.lib.errors import DomainError
from participants import history, registry
from participants.admin.bulk import Foreseen, PerhapsWhy, each, previewed
from participants.admin.look import HistoryPages, actor

MOST_DELETED = 200  # rows at a time


class NamedForm(forms.ModelForm):
    """A form whose name must be free among what is not deleted."""

    reason = forms.CharField(max_length=500, required=False, label=_("Why"), help_text=_("Goes into the audit log."))

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        rows = self._meta.model._default_manager.filter(name=name).exclude(pk=self.instance.pk)
        if any(field.name == "deleted_at" for field in self._meta.model._meta.fields):
            rows = rows.filter(deleted_at=None)
        if rows.exists():
            raise forms.ValidationError(gettext("The name %(name)r is taken.") % {"name": name})
        return name


def why(request: HttpRequest) -> str:
    """What somebody wrote beside a form or an action."""
    return request.POST.get("reason", "")


def one_transaction(request: HttpRequest) -> AbstractContextManager[None]:
    """For a form: what it saves, beside one another, is told at the end of one transaction."""
    return history.atomic() if request.method == "POST" else nullcontext()


def deleted(admin: Any, request: HttpRequest, row: Any) -> Foreseen:
    """What forbids it is asked of each row, and costs a few queries: see MOST_DELETED."""
    if not admin.has_delete_permission(request, row):
        return Foreseen(left=gettext("cannot be deleted"))
    protected = admin.protected([row])
    return Foreseen(left="; ".join(protected)) if protected else Foreseen(gettext("there"), gettext("deleted"))


class RegistryAdmin(HistoryPages):
    """Saves through the registry, with the member of staff as the actor."""

    form = NamedForm
    actions: Any = ("delete_selected",)
    delete_confirmation_template = "admin/participants/delete_confirmation.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """And, for a change, why."""
        fields = super().get_fields(request, obj)
        return (*fields, "reason") if obj is not None and self.has_change_permission(request, obj) else fields

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with one_transaction(request):
            return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with one_transaction(request):
            return super().delete_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            registry.update(obj, actor=actor(request), reason=why(request))
        else:
            registry.add(obj, actor=actor(request))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        try:
            self.remove(obj, actor=actor(request), reason=why(request))
        except DomainError as error:
            self.message_user(request, error.detail, messages.ERROR)

    def remove(self, obj: Any, *, actor: str, reason: str) -> None:
        """Makes the domain call. Raises DomainError."""
        raise NotImplementedError

    @previewed(
        deleted,
        description=_("Delete"),
        permissions=["delete"],
        form=PerhapsWhy,
        done=_("%(count)s deleted; %(left)s are still there."),
        most=MOST_DELETED,
    )
    def delete_selected(self, request: HttpRequest, rows: list[Any], said: dict[str, Any]) -> int:
        who, allowed = actor(request), [row for row in rows if self.has_delete_permission(request, row)]
        return each(request, allowed, lambda row: self.remove(row, actor=who, reason=said["reason"]))

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Nothing else is deleted with it: what depends on it stays, or forbids the deletion."""
        return [str(obj) for obj in objs], {}, set(), self.protected(list(objs))

    def protected(self, objs: list[Any]) -> list[str]:
        """What forbids the deletion, in words."""
        return []
