"""The admin's site: Django's, with our way in."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache


class Admin(AdminConfig):
    """Django's admin with our site, in place of `django.contrib.admin` in INSTALLED_APPS."""

    default_site = "staff.site.StaffSite"


class StaffSite(AdminSite):
    site_url = None  # there is no other site to view

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """As Django's, with our view behind the page."""
        from staff.log_in import LogIn

        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        context = {
            **self.each_context(request),
            "title": _("Log in"),
            "subtitle": None,
            "app_path": request.get_full_path(),
            "username": request.user.get_username(),
        }
        if REDIRECT_FIELD_NAME not in request.GET and REDIRECT_FIELD_NAME not in request.POST:
            context[REDIRECT_FIELD_NAME] = reverse("admin:index")
        return LogIn.as_view(extra_context={**context, **(extra_context or {})})(request)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        from staff.views import OwnPassword

        return OwnPassword.as_view(extra_context={**self.each_context(request), **(extra_context or {})})(request)
