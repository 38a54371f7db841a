"""Staff accounts in Django admin. Every change goes through accounts.py; roles come from roles.py, not from here."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache

from dmr_project.lib.errors import DomainError
from participants.admin import ModelAdmin, badge
from participants.admin.bulk import Foreseen, each, previewed
from participants.admin.look import AMBER, GREEN, GREY
from staff import accounts, roles, second_factor, throttle

NAMES = ("first_name", "last_name", "email")
KNOWN = ("state", "factor", "identity", "held", "last_login", "date_joined")  # what nobody types

admin.site.unregister([User, Group])


class AccountForm(forms.ModelForm):
    roles = forms.MultipleChoiceField(
        choices=[(name, format_lazy("{}: {}", roles.NAMES[name], said)) for name, said in roles.ROLES.items()],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        label=gettext_lazy("Roles"),
        help_text=gettext_lazy("Without any, the account sees nothing. Who loses one is logged out at once."),
    )

    class Meta:
        model = User
        fields = ("username", *NAMES, "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["roles"] = accounts.roles_of(self.instance)


class RoleFilter(admin.SimpleListFilter):
    title = gettext_lazy("role")
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, roles.name_of(name)) for name in roles.ROLES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        return queryset.filter(groups__name=self.value()) if self.value() else queryset


def logged_out(admin: Any, request: HttpRequest, row: User) -> Foreseen:
    actor: Any = request.user
    try:
        accounts.check_may_change(row, actor)
    except DomainError as error:
        return Foreseen(left=error.detail)
    return Foreseen(_("logged in, or not"), _("has to log in again"))


@admin.register(User)
class AccountAdmin(ModelAdmin):
    form = AccountForm
    list_display = ("username", "name", "email", "role_names", "state", "factor", "last_login")
    list_filter = (RoleFilter, "is_active", "is_superuser")
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    readonly_fields = ("role_names", *KNOWN)
    actions = ("end_sessions",)
    change_form_template = "staff/account.html"
    # Name of a button → the permission it asks for, as in participants.admin.pages.
    permissions = dict.fromkeys(("reset-password", "end-sessions", "let-in", "take-away-factor"), "auth.change_user")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).select_related("second_factor", "identity").prefetch_related("groups")

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("username", *NAMES, "roles")
        if not self.has_change_permission(request, obj):
            return ("username", *NAMES, "role_names", *KNOWN)
        return ("username", *NAMES, "is_active", "roles", *KNOWN)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "username") if obj else self.readonly_fields

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or is_changed_by(obj, request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # releases and the audit log name people for ever: an account that is over is made inactive

    @admin.display(description=gettext_lazy("name"))
    def name(self, row: User) -> str:
        return row.get_full_name()

    @admin.display(description=gettext_lazy("roles"))
    def role_names(self, row: User) -> str:
        return ", ".join(sorted(roles.name_of(group.name) for group in row.groups.all())) or "–"

    @admin.display(description=gettext_lazy("state"), ordering="is_active")
    def state(self, row: User) -> SafeString:
        if not row.is_active:
            return badge(_("Inactive"), GREY)
        if not row.is_staff:
            return badge(_("No staff"), GREY)
        return badge(_("Superuser"), AMBER) if row.is_superuser else badge(_("Active"), GREEN)

    @admin.display(description=gettext_lazy("second factor"), ordering="second_factor__since")
    def factor(self, row: User) -> str:
        found = getattr(row, "second_factor", None)
        return _("since %(day)s") % {"day": date_format(timezone.localtime(found.since))} if found else "–"

    @admin.display(description=gettext_lazy("single sign-on"))
    def identity(self, row: User) -> str:
        return str(getattr(row, "identity", "–"))

    @admin.display(description=gettext_lazy("failed log-ins"))
    def held(self, row: User) -> str:
        wait = throttle.held_for(row.get_username())
        if not wait:
            return "–"
        return _("Too many: browsers that this account does not know have to wait %(wait)s s.") % {"wait": wait}

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        actor: Any = request.user
        if change:
            accounts.change(obj, form.cleaned_data["roles"], actor=actor)
        else:
            request.password = accounts.add(obj, form.cleaned_data["roles"], actor=actor)  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: User, post_url_continue: str | None = None) -> HttpResponse:
        return self.show_password_once(request, obj, request.password)  # type: ignore[attr-defined]

    def show_password_once(self, request: HttpRequest, user: User, password: str) -> HttpResponse:
        """On the page that answers the form: it is stored nowhere, so this page cannot come again."""
        context = {
            **self.admin_site.each_context(request),
            "title": _("Password of %(user)s") % {"user": user},
            "account": user,
            "password": password,
            "opts": self.opts,
        }
        response = TemplateResponse(request, "staff/password_once.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def get_urls(self) -> list[URLPattern]:
        steer = path(
            "<path:object_id>/do/<slug:name>/",
            self.admin_site.admin_view(never_cache(self.steer)),
            name="auth_user_do",
        )
        return [steer, *super().get_urls()]

    def buttons(self, request: HttpRequest, row: User) -> dict[str, tuple[str, str]]:
        """What may be done with the account: name → (label, what it means)."""
        if not self.has_change_permission(request, row):
            return {}
        found = {
            "reset-password": (_("Reset the password"), _("shows a new one once, and ends their sessions")),
            "end-sessions": (_("Log out everywhere"), _("they have to log in again")),
        }
        if hasattr(row, "second_factor"):
            found["take-away-factor"] = (_("Take the second factor away"), _("for who lost it; ends their sessions"))
        if throttle.held_for(row.get_username()):
            found["let-in"] = (_("Let in again"), _("they need not wait, whoever failed to log in as them"))
        return found

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        context = {"buttons": self.buttons(request, row) if row is not None else {}}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def steer(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """A button was pressed."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.get_object(request, unquote(object_id))
        if row is None or name not in self.buttons(request, row) or not request.user.has_perm(self.permissions[name]):
            raise PermissionDenied
        return self.act(request, row, name) or HttpResponseRedirect(reverse("admin:auth_user_change", args=[row.pk]))

    def act(self, request: HttpRequest, row: User, name: str) -> HttpResponse | None:
        actor: Any = request.user
        if name == "reset-password":
            return self.show_password_once(request, row, accounts.reset_password(row, actor=actor))
        if name == "let-in":
            accounts.let_in(row, actor=actor.get_username())
            messages.success(request, _("%(user)s may try at once.") % {"user": row})
        elif name == "take-away-factor":
            second_factor.take_away(row, actor=actor.get_username())
            messages.success(request, _("%(user)s has no second factor any more.") % {"user": row})
        else:
            accounts.end_sessions(row, actor=actor.get_username())
            messages.success(request, _("%(user)s is logged out everywhere.") % {"user": row})
        return None

    @previewed(
        logged_out,
        description=gettext_lazy("Log out everywhere"),
        permissions=["change"],
        done=gettext_lazy("%(count)s logged out everywhere; %(left)s left alone."),
    )
    def end_sessions(self, request: HttpRequest, rows: list[User], said: dict[str, Any]) -> int:
        actor: Any = request.user

        def end(row: User) -> None:
            accounts.check_may_change(row, actor)
            accounts.end_sessions(row, actor=actor.get_username())

        return each(request, rows, end)


def is_changed_by(user: User, request: HttpRequest) -> bool:
    actor: Any = request.user
    try:
        accounts.check_may_change(user, actor)
    except DomainError:
        return False
    return True
