"""The admin's site: Django's, with our way in."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest


class Admin(AdminConfig):
    """Django's admin with our site, in place of `django.contrib.admin` in INSTALLED_APPS."""

    default_site = "staff.site.StaffSite"


class StaffSite(AdminSite):
    site_url = None  # there is no other site to view

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        from staff.views import OwnPassword

        return OwnPassword.as_view(extra_context={**self.each_context(request), **(extra_context or {})})(request)
