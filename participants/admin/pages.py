"""Pages of rows that only the domain changes: a form that makes one domain call, and buttons that make one each."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dmr_project.lib.errors import DomainError
from participants.admin.look import ReadOnlyAdmin

_SMALL = re.compile(r"([A-Z])")  # within camelCase


def refuse(form: Any, error: DomainError) -> None:
    """Puts what the domain said beside the fields that it is about, which the API calls in its own way."""
    named = [(_field_of(form, each.get("field", "")), each["detail"]) for each in error.errors]
    if len(named) == 1 and not error.detail.startswith(error.errors[0]["field"]):
        named = [(named[0][0], error.detail)]  # a sentence of its own
    if named and all(name for name, _detail in named):
        for name, detail in named:
            form.add_error(name, detail)
    else:
        form.add_error(None, error.detail)


def _field_of(form: Any, said: str) -> str:
    """`endsAt` is `ends_at`, and `text` the first of `text_et` and `text_en`; empty where there is none."""
    name = _SMALL.sub(r"_\1", said).lower()
    return next((each for each in form.fields if name and (each == name or each.startswith(f"{name}_"))), "")


class DomainAdmin(ReadOnlyAdmin):
    """Rows that nothing but the domain changes: `create` by a form, `act` by buttons on a row's page.

    A refusal of the domain is shown where the person is; it changes nothing.
    """

    new_form: type[forms.Form] | type[forms.ModelForm] | None = None
    # Texts, or such as are translated when they are shown.
    new_title: Any = ""
    new_button: Any = _("Save")
    new_help: Any = ""
    new_template = "admin/participants/new.html"
    # Name of a button, and of the action on the list → the permission it asks for. What is not here nobody may do.
    permissions: dict[str, str] = {}

    # Buttons that do not ask why.
    without_reason: tuple[str, ...] = ()

    def create(self, request: HttpRequest, data: dict[str, Any]) -> tuple[Any, str]:
        """Makes the domain call; returns the row and what to tell. Raises DomainError."""
        raise NotImplementedError

    def buttons(self, row: Any) -> dict[str, tuple[str, str]]:
        """What may be done with the row as it is: name → (label, what it means)."""
        return {}

    def act(self, request: HttpRequest, row: Any, name: str) -> str:
        """Makes the domain call of the button; returns what to tell. Raises DomainError."""
        raise NotImplementedError

    def may(self, request: HttpRequest, name: str) -> bool:
        permission = self.permissions.get(name)
        return permission is not None and request.user.has_perm(permission)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.new_form is not None and request.user.has_perm(
            f"{self.opts.app_label}.add_{self.opts.model_name}"
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if self.new_form is None or not self.has_add_permission(request):
            raise PermissionDenied
        is_sent = request.method == "POST"
        form = self.new_form(request.POST, request.FILES) if is_sent else self.new_form()
        if is_sent and form.is_valid():
            try:
                row, said = self.create(request, form.cleaned_data)
            except DomainError as error:
                refuse(form, error)
            else:
                messages.success(request, said)
                return HttpResponseRedirect(self._url("change", row.pk))
        context = {
            **self.admin_site.each_context(request),
            "title": self.new_title,
            "form": form,
            "button": self.new_button,
            "help": self.new_help,
            "opts": self.opts,
        }
        return TemplateResponse(request, self.new_template, context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        buttons = self.buttons(row) if row is not None else {}
        buttons = {name: said for name, said in buttons.items() if self.may(request, name)}
        context = {
            "buttons": buttons,
            "without_reason": self.without_reason,
            **(self.more_context(row) if row is not None else {}),
        }
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def more_context(self, row: Any) -> dict[str, Any]:
        return {}

    def get_urls(self) -> list[URLPattern]:
        steer = path(
            "<path:object_id>/do/<slug:name>/",
            self.admin_site.admin_view(self.steer),
            name=f"{self.opts.app_label}_{self.opts.model_name}_do",
        )
        return [steer, *super().get_urls()]

    def steer(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """A button was pressed."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.get_object(request, unquote(object_id))
        if row is None or not self.may(request, name):
            raise PermissionDenied
        try:
            if name not in self.buttons(row):
                messages.warning(
                    request,
                    gettext("%(row)s: this cannot be done any more; somebody may have been first.") % {"row": row},
                )
            else:
                messages.success(request, self.act(request, row, name))
        except DomainError as error:
            messages.error(request, error.detail)
        return HttpResponseRedirect(self._url("change", row.pk))

    def is_list(self, request: HttpRequest) -> bool:
        found = request.resolver_match
        return found is not None and found.url_name == f"{self.opts.app_label}_{self.opts.model_name}_changelist"

    def _url(self, name: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args)
