"""The admin's site: the theme's, with our way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.i18n import set_language

from staff import navigation

if TYPE_CHECKING:  # the theme says nothing of its types: they are Django's
    ThemedSite = AdminSite
else:
    from unfold.sites import UnfoldAdminSite as ThemedSite


class Admin(AdminConfig):
    """Django's admin with our site, in place of `django.contrib.admin` in INSTALLED_APPS."""

    default_site = "staff.site.StaffSite"


class StaffSite(ThemedSite):
    site_url = None  # there is no other site to view
    index_title = gettext_lazy("Today")
    index_template = "admin/observability/today.html"  # what is on it, settings.UNFOLD names

    def language(self, request: HttpRequest) -> HttpResponse:
        """The language of the admin from now on, kept in a cookie, and of mails to this member of staff."""
        from staff import accounts

        user: Any = request.user
        if request.method == "POST":
            accounts.speaks(user, request.POST.get("language", ""))
        return set_language(request)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        context["sidebar_navigation"] = navigation.groups(context["available_apps"], request.path)
        context["languages"] = settings.LANGUAGES
        return context

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        return []  # each_context has ours, from the list of applications that it reads anyway

    def get_urls(self) -> list[Any]:
        """Ours and Django's. The theme's search is left out: it keeps what it finds in the cache, for each user."""
        from staff import second_factor_pages
        from staff.log_in import CodePage
        from staff.sign_on import flow

        def own_second_factor(request: HttpRequest) -> HttpResponse:
            return second_factor_pages.own(request, self.each_context(request))

        def code(request: HttpRequest) -> HttpResponseBase:
            return CodePage.as_view(extra_context=self.each_context(request))(request)

        return [
            path("login/code/", never_cache(code), name="log_in_code"),  # asks for a password that was right before
            path("login/sign-on/", never_cache(flow.begin), name="sign_on"),
            path("login/sign-on/done/", never_cache(flow.finish), name="sign_on_done"),
            path("second-factor/", self.admin_view(own_second_factor), name="second_factor"),
            path("language/", self.admin_view(self.language), name="language"),
            *AdminSite.get_urls(self),
        ]

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
        if settings.OIDC_ISSUER:
            context |= {"sign_on": settings.OIDC_NAME}
        return LogIn.as_view(extra_context={**context, **(extra_context or {})})(request)

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """And out of the provider, for whoever came in by it."""
        from staff import sessions
        from staff.second_factor import Way
        from staff.sign_on import flow

        was_by_provider = sessions.factor_of(request.session) == Way.SIGN_ON
        response = super().logout(request, extra_context)
        to = flow.log_out_address() if was_by_provider and request.method == "POST" else ""
        return HttpResponseRedirect(to) if to else response

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        from staff.views import OwnPassword

        return OwnPassword.as_view(extra_context={**self.each_context(request), **(extra_context or {})})(request)
