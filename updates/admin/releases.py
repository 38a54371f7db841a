"""Staff keys and releases."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from participants.admin import actor, badge
from participants.admin.bulk import Foreseen, PerhapsWhy, each, previewed
from participants.admin.filters import NamedFilter
from participants.admin.keys import AutocompleteSelect
from participants.admin.look import AMBER, BLUE, GREEN, GREY, RED, FileInput
from participants.admin.pages import DomainAdmin
from updates import manifest, releases, signatures, staff_keys
from updates.models import Release, StaffKey

COLOURS = {"draft": AMBER, "approved": BLUE, "published": GREEN, "withdrawn": GREY}
SEVERITIES = {"optional": GREY, "mandatory": BLUE, "critical": RED}


class NewKeyForm(forms.Form):
    person = forms.ModelChoiceField(
        User.objects.filter(is_active=True, is_staff=True).order_by("username"),
        label=_("Person"),
        widget=AutocompleteSelect(StaffKey._meta.get_field("person"), admin.site),
        help_text=_("Whose key it is."),
    )
    public_key = forms.CharField(
        label=_("Public key"),
        max_length=200,
        widget=forms.TextInput(attrs={"size": 60, "class": "vTextField"}),
        help_text=_("The line in FILE.pub, as `dmr-agent release keygen` writes it. Never the private key."),
    )


def withdrawn(admin: Any, request: HttpRequest, row: StaffKey) -> Foreseen:
    what = f"{row.person}: {row.key_id[:16]}…"
    if not row.is_valid:
        return Foreseen(left=gettext("is withdrawn already"), what=what)
    return Foreseen(gettext("valid"), gettext("withdrawn"), what=what)


@admin.register(StaffKey)
class StaffKeyAdmin(DomainAdmin):
    new_form = NewKeyForm
    new_title = _("Register a public key")
    new_button = _("Register")
    list_display = ("short_id", "person", "state", "created_at", "withdrawn_at")
    list_filter = (
        ("withdrawn_at", admin.EmptyFieldListFilter),
        ("person", NamedFilter),
    )
    list_select_related = ("person",)
    search_fields = ("key_id", "person__username")
    fields = ("person", "key_id", "public_key", "created_at", "withdrawn_at")
    actions = ("withdraw",)
    permissions = {"withdraw": "updates.withdraw_staffkey"}
    change_form_template = "admin/participants/steered.html"

    @admin.display(description=_("key id"), ordering="key_id")
    def short_id(self, row: StaffKey) -> str:
        return f"{row.key_id[:16]}…"

    @admin.display(description=_("state"))
    def state(self, row: StaffKey) -> SafeString:
        return (
            badge(gettext("Valid"), COLOURS["published"])
            if row.is_valid
            else badge(gettext("Withdrawn"), COLOURS["withdrawn"])
        )

    def create(self, request: HttpRequest, data: dict[str, Any]) -> tuple[StaffKey, str]:
        key = staff_keys.add(data["public_key"], data["person"], actor=actor(request))
        return key, gettext("The key is %(person)s's from now on.") % {"person": data["person"]}

    def buttons(self, row: StaffKey) -> dict[str, tuple[str, str]]:
        return (
            {"withdraw": (gettext("Withdraw"), gettext("its signatures count for nothing from now on"))}
            if row.is_valid
            else {}
        )

    def act(self, request: HttpRequest, row: StaffKey, name: str) -> str:
        staff_keys.withdraw(row, actor=actor(request), reason=request.POST.get("reason", ""))
        return gettext("The key is withdrawn.")

    def has_withdraw_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "withdraw")

    @previewed(
        withdrawn,
        description=_("Withdraw: signatures by it count for nothing"),
        permissions=["withdraw"],
        form=PerhapsWhy,
        done=_("%(count)s withdrawn; %(left)s left alone."),
    )
    def withdraw(self, request: HttpRequest, rows: list[StaffKey], said: dict[str, Any]) -> int:
        who, reason = actor(request), said["reason"]
        return each(request, rows, lambda row: staff_keys.withdraw(row, actor=who, reason=reason))


class ImportForm(forms.Form):
    manifest_file = forms.FileField(
        label=_("Manifest file"), required=False, widget=FileInput, help_text=_("The manifest, JSON.")
    )
    manifest_text = forms.CharField(
        label=_("Manifest text"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 12, "cols": 90, "class": "vLargeTextField"}),
        help_text=_("Or its text. White space and the order of keys do not matter."),
    )
    signed = forms.CharField(
        label=_("Signatures"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 90, "class": "vLargeTextField"}),
        help_text=_("One a line, as `dmr-agent release sign` prints it. More can follow: import the manifest again."),
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if bool(data.get("manifest_file")) == bool(data.get("manifest_text")):
            raise forms.ValidationError(gettext("Choose a file, or paste the manifest: one of the two."))
        return data


def approved(admin: Any, request: HttpRequest, row: Release) -> Foreseen:
    if row.state != Release.State.DRAFT:
        return Foreseen(left=gettext("%(state)s: only a draft is approved") % {"state": row.get_state_display()})
    if row.author_id == request.user.pk:
        return Foreseen(left=gettext("is your own: somebody else must approve it"))
    return Foreseen(row.get_state_display(), str(Release.State.APPROVED.label))


def published(admin: Any, request: HttpRequest, row: Release) -> Foreseen:
    if row.state != Release.State.APPROVED:
        said = gettext("%(state)s: only what is approved is published")
        return Foreseen(left=said % {"state": row.get_state_display()})
    people = len(signatures.signers(row))
    if people < signatures.THRESHOLD:
        said = gettext("signed by %(people)s of %(needed)s people")
        return Foreseen(left=said % {"people": people, "needed": signatures.THRESHOLD})
    return Foreseen(row.get_state_display(), str(Release.State.PUBLISHED.label))


@admin.register(Release)
class ReleaseAdmin(DomainAdmin):
    new_form = ImportForm
    new_title = _("Import a release")
    new_button = _("Import")
    new_help = _("You become its author: somebody else has to approve it.")
    list_display = (
        "version",
        "state_now",
        "how_severe",
        "sequence",
        "author",
        "approver",
        "signed_by",
        "published_at",
    )
    list_filter = ("state", "severity")
    list_select_related = ("author", "approver")
    search_fields = ("version", "digest")
    fields = (
        ("version", "sequence"),
        ("state_now", "how_severe"),
        ("author", "approver"),
        ("created_at", "approved_at", "published_at", "withdrawn_at"),
        "signatures_held",
        "notes_et",
        "notes_en",
        "digest",
        "components",
        "manifest_text",
    )
    readonly_fields = ("state_now", "how_severe", "signatures_held", "components", "manifest_text")
    actions = ("approve", "publish")
    permissions = {
        "approve": "updates.approve_release",
        "publish": "updates.publish_release",
        "withdraw": "updates.withdraw_release",
    }
    change_form_template = "admin/participants/steered.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        rows = Release.objects.annotate(signature_count=Count("signatures"))
        return rows.defer("manifest") if self.is_list(request) else rows

    @admin.display(description=_("state"), ordering="state")
    def state_now(self, row: Release) -> SafeString:
        return badge(row.get_state_display(), COLOURS[row.state])

    @admin.display(description=_("severity"), ordering="severity")
    def how_severe(self, row: Release) -> SafeString:
        return badge(row.get_severity_display(), SEVERITIES[row.severity])

    @admin.display(description=_("signatures"))
    def signed_by(self, row: Any) -> int:
        count: int = row.signature_count
        return count

    @admin.display(description=_("signatures"))
    def signatures_held(self, row: Release) -> SafeString:
        rows = row.signatures.select_related("key__person")
        listed = format_html_join(
            "",
            "<li>{} <code>{}…</code> {}</li>",
            (
                (
                    each.key.person.get_username(),
                    each.key.key_id[:16],
                    "" if each.key.is_valid else gettext("(withdrawn: does not count)"),
                )
                for each in rows
            ),
        )
        people = len(signatures.signers(row))
        said = gettext("%(count)s of %(needed)s people needed") % {"count": people, "needed": signatures.THRESHOLD}
        return format_html("<ul style='margin:0'>{}</ul>{}", listed, said)

    @admin.display(description=_("components"))
    def components(self, row: Release) -> SafeString:
        content = manifest.parse(row.canonical).content
        return format_html(
            "<ul style='margin:0'>{}</ul>",
            format_html_join(
                "", "<li>{} <code>{}</code></li>", ((each["name"], each["image"]) for each in content["components"])
            ),
        )

    @admin.display(description=_("manifest"))
    def manifest_text(self, row: Release) -> SafeString:
        text = json.dumps(json.loads(row.canonical), indent=2, ensure_ascii=False)
        return format_html("<pre style='margin:0;max-height:24em;overflow:auto'>{}</pre>", text)

    def create(self, request: HttpRequest, data: dict[str, Any]) -> tuple[Release, str]:
        content = data["manifest_file"].read() if data["manifest_file"] else data["manifest_text"].encode()
        lines = [line for line in data["signed"].splitlines() if line.strip()]
        signed = [
            manifest.load_json(line.encode(), gettext("signature %(n)s") % {"n": n})
            for n, line in enumerate(lines, 1)
        ]
        user: Any = request.user
        release = releases.import_manifest(content, signed, user)
        count = release.signatures.count()
        said = ngettext(
            "%(release)s (%(state)s) has %(count)s signature.",
            "%(release)s (%(state)s) has %(count)s signatures.",
            count,
        )
        return release, said % {"release": release, "state": release.get_state_display().lower(), "count": count}

    def buttons(self, row: Release) -> dict[str, tuple[str, str]]:
        approve = (gettext("Approve"), gettext("by somebody else than its author"))
        publish = (gettext("Publish"), gettext("from now on it may be rolled out"))
        withdraw = (gettext("Withdraw"), gettext("no Instance gets it any more; its rollout is aborted"))
        by_state: dict[str, dict[str, tuple[str, str]]] = {
            "draft": {"approve": approve, "withdraw": withdraw},
            "approved": {"publish": publish, "withdraw": withdraw},
            "published": {"withdraw": withdraw},
        }
        return by_state.get(row.state, {})

    def act(self, request: HttpRequest, row: Release, name: str) -> str:
        user: Any = request.user
        call = {"approve": releases.approve, "publish": releases.publish, "withdraw": releases.withdraw}[name]
        call(row, user, request.POST.get("reason", ""))
        done = {
            "approve": gettext("%(release)s is approved."),
            "publish": gettext("%(release)s is published."),
            "withdraw": gettext("%(release)s is withdrawn."),
        }
        return done[name] % {"release": row}

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "approve")

    def has_publish_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "publish")

    @previewed(
        approved,
        description=_("Approve"),
        permissions=["approve"],
        form=PerhapsWhy,
        done=_("%(count)s approved; %(left)s left alone."),
    )
    def approve(self, request: HttpRequest, rows: list[Release], said: dict[str, Any]) -> int:
        user: Any = request.user
        return each(request, rows, lambda row: releases.approve(row, user, said["reason"]))

    @previewed(
        published,
        description=_("Publish"),
        permissions=["publish"],
        form=PerhapsWhy,
        done=_("%(count)s published; %(left)s left alone."),
    )
    def publish(self, request: HttpRequest, rows: list[Release], said: dict[str, Any]) -> int:
        user: Any = request.user
        return each(request, rows, lambda row: releases.publish(row, user, said["reason"]))
