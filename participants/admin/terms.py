"""Endpoint terms in Django admin: what is set, and a page for each participant to set it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from dmr_project.lib.errors import DomainError
from participants import endpoint_terms
from participants.admin.filters import ExpiresFilter
from participants.admin.look import ReadOnlyAdmin, actor
from participants.endpoint_terms import Given
from participants.models import EndpointTerms, Participant

_PEM = {"rows": 8, "cols": 80, "class": "vLargeTextField", "spellcheck": "false", "autocomplete": "off"}


class WriteOnly(forms.Textarea):
    """Takes a secret, and never shows it, not even one that was just sent and refused."""

    def format_value(self, value: Any) -> str | None:
        return None


class TermsForm(forms.Form):
    allowed_networks = forms.CharField(
        max_length=200,
        required=False,
        label=_("Private networks"),
        help_text=_(
            "Networks such as 10.1.0.0/16, separated by commas, in which this endpoint may lie besides public "
            "addresses. Loopback, link-local and cloud metadata addresses are never called."
        ),
        widget=forms.TextInput(attrs={"size": 80, "class": "vTextField"}),
    )
    authority = forms.CharField(
        required=False,
        label=_("Authority"),
        help_text=_(
            "Certificates, PEM. The endpoint is believed if one of these vouches for it, and "
            "public authorities count no more for it. Empty: they do."
        ),
        widget=forms.Textarea(attrs=_PEM),
    )
    client_certificate = forms.CharField(
        required=False,
        label=_("New client certificate"),
        help_text=_("PEM: what we show this endpoint, followed by what signed it. Empty: as it is."),
        widget=forms.Textarea(attrs=_PEM),
    )
    client_key = forms.CharField(
        required=False,
        label=_("Its private key"),
        help_text=_("PEM, without a passphrase. It is stored encrypted and never shown again."),
        widget=WriteOnly(attrs=_PEM),
    )
    no_client_certificate = forms.BooleanField(required=False, label=_("Take the client certificate away"))
    reason = forms.CharField(
        label=_("Why"), max_length=500, required=False, widget=forms.TextInput(attrs={"size": 80})
    )

    def given(self) -> Given:
        data = self.cleaned_data
        is_taken = data["no_client_certificate"]
        return Given(
            allowed_networks=data["allowed_networks"],
            authority=data["authority"],
            client_certificate="" if is_taken else data["client_certificate"] or None,
            client_key="" if is_taken else data["client_key"] or None,
        )


@admin.register(EndpointTerms)
class EndpointTermsAdmin(ReadOnlyAdmin):
    list_display = ("whose", "allowed_networks", "authority_seen", "client_seen", "expires_at")
    list_filter = (
        ("allowed_networks", admin.EmptyFieldListFilter),
        ("client_certificate", admin.EmptyFieldListFilter),
        ExpiresFilter,
    )
    list_select_related = ("participant",)
    list_display_links = None
    search_fields = ("participant__name",)
    ordering = ("expires_at", "participant__name")
    fields = ("whose", "allowed_networks", "authority_seen", "client_seen", "expires_at")
    readonly_fields = ("whose", "authority_seen", "client_seen")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(participant__terms_version__gt=0)

    @admin.display(description=_("participant"), ordering="participant__name")
    def whose(self, row: EndpointTerms) -> SafeString:
        url = reverse("admin:participants_endpointterms_of", args=[row.pk])
        return format_html('<a href="{}">{}</a>', url, row.participant.name)

    @admin.display(description=_("authority"))
    def authority_seen(self, row: EndpointTerms) -> str:
        return "; ".join(map(str, endpoint_terms.authorities(row))) or "–"

    @admin.display(description=_("client certificate"))
    def client_seen(self, row: EndpointTerms) -> str:
        return "; ".join(map(str, endpoint_terms.client(row))) or "–"

    def get_urls(self) -> list[URLPattern]:
        of = path(
            "of/<path:object_id>/",
            self.admin_site.admin_view(never_cache(sensitive_post_parameters("client_key")(self.of))),
            name="participants_endpointterms_of",
        )
        return [of, *super().get_urls()]

    def of(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The terms of one participant, whether it has any yet or not."""
        pk = unquote(object_id)
        participant = Participant.objects.present().filter(pk=pk).first() if pk.isdecimal() else None
        if participant is None or participant.is_relay or not self.has_view_permission(request):
            raise PermissionDenied
        may_change = request.user.has_perm("participants.change_endpointterms")
        row = EndpointTerms.objects.filter(participant=participant).first() or EndpointTerms(participant=participant)
        form = TermsForm(initial={"allowed_networks": row.allowed_networks, "authority": row.authority})
        if request.method == "POST":
            if not may_change:
                raise PermissionDenied
            form = TermsForm(request.POST)
            if form.is_valid() and self.change(request, participant, form):
                return HttpResponseRedirect(reverse("admin:participants_endpointterms_of", args=[participant.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Endpoint terms of %(participant)s") % {"participant": participant},
            "participant": participant,
            "networks": row.allowed_networks,
            "seen": {
                gettext("Authority"): endpoint_terms.authorities(row),
                gettext("Client certificate"): endpoint_terms.client(row),
            },
            "form": form if may_change else None,
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/participants/endpointterms/of.html", context)

    def change(self, request: HttpRequest, participant: Participant, form: TermsForm) -> bool:
        """False where it is refused; the form then says why."""
        try:
            endpoint_terms.change(participant, form.given(), actor=actor(request), reason=form.cleaned_data["reason"])
        except DomainError as error:
            for each in error.errors or [{"field": "", "detail": error.detail}]:
                form.add_error(each["field"] or None, each["detail"])
            return False
        messages.success(
            request,
            gettext("The endpoint of %(participant)s is called under these terms from now on.")
            % {"participant": participant},
        )
        return True
