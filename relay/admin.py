"""Messages and deliveries in Django admin: what became of them, never what they say."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_lazy as _

from participants.admin import CappedPaginator, ReadOnlyAdmin, TabularInline, actor, badge
from participants.admin.acts import ActsOnPage
from participants.admin.bulk import previewed
from participants.admin.filters import NamedFilter
from participants.admin.look import AMBER, BLUE, GREEN, RED, InlineFormSet, told
from relay import breaker_admin, dead_letter_admin, dead_letters, key_admin, outlook_admin  # noqa: F401 -- the admins register themselves
from relay.foreseen import discarded, requeued
from relay.models import Attempt, Delivery, Message, State, StoredBytes
from relay.querysets import DeliveryQuerySet

_COLOURS = {
    State.PENDING: AMBER,
    State.DELIVERING: BLUE,
    State.DELIVERED: GREEN,
    State.EXPIRED: RED,
    State.DEAD: RED,
}
MOST_CHOSEN = 1_000  # deliveries that one action handles


class RecipientFilter(admin.SimpleListFilter):
    """By recipient, typed in the address (`?recipient=name`): a list of 5,000 helps nobody."""

    title = _("recipient")
    parameter_name = "recipient"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        waiting = (
            Delivery.objects.filter(state=State.PENDING)
            .order_by()
            .values_list("recipient_name", flat=True)
            .distinct()
        )
        chosen = request.GET.get(self.parameter_name)
        found = sorted({*waiting[:20], *([chosen] if chosen else [])})
        return [(name, name) for name in found]

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(recipient_name=self.value()) if self.value() else queryset


class DeadLetterFilter(admin.SimpleListFilter):
    title = _("dead letter")
    parameter_name = "dead"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", gettext("Open: to requeue or to discard")), ("discarded", gettext("Discarded"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "open":
            return queryset.dead_letters()
        return queryset.filter(discarded_at__isnull=False) if self.value() == "discarded" else queryset


class InboxFilter(admin.SimpleListFilter):
    title = _("inbox")
    parameter_name = "inbox"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unfetched", gettext("Not fetched for 10 minutes"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.unfetched(timezone.now()) if self.value() == "unfetched" else queryset


class DeliveryList(ChangeList):
    """A page of deliveries, with what goes before them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        outlook_admin.look_ahead(self.result_list)


class AttemptInline(TabularInline):
    model = Attempt
    hide_title = True  # the columns say it all
    extra = 0
    can_delete = False
    fields = readonly_fields = ("number", "at", "duration", "status", "what_failed", "answer")
    what_failed = told("error", _("error"))
    verbose_name_plural = _("failed attempts")

    @admin.display(description=_("took"))
    def duration(self, row: Attempt) -> str:
        return f"{row.seconds:.3f} s"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Delivery)
class DeliveryAdmin(ActsOnPage, ReadOnlyAdmin):
    list_display = (
        "short_id",
        "sent_by",
        "recipient_name",
        "state_badge",
        "age",
        "attempts",
        "next",
        "what_failed",
    )
    what_failed = told("last_error", _("last error"))
    list_filter = (
        "state",
        DeadLetterFilter,
        InboxFilter,
        RecipientFilter,
        ("sender", NamedFilter),
        ("message__room", NamedFilter),
    )
    search_fields = ("recipient_name", "message__written_id", "message__sender__name")
    search_help_text = _("Recipient, sender, or the message's id")
    ordering = ("-id",)
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    actions = ("requeue", "discard")
    most_chosen = MOST_CHOSEN
    inlines = (AttemptInline,)
    fields = (
        "message_id_link", "sent_by", "recipient", "recipient_name", "room", "conversation", "state_badge",
        "attempts", "next", "accepted_at", "expires_at", "delivered_at", "ended_at", "discarded_at", "last_status",
        "last_took", "what_failed", "last_answer", "payload_facts",
    )  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> DeliveryQuerySet:
        rows = Delivery.objects.select_related("message__sender", "message__room", "recipient__breaker")
        return rows.defer("message__payload")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeliveryList

    def acts_on(self, row: Delivery) -> tuple[str, ...]:
        if row.state in (State.DEAD, State.EXPIRED):
            return ("requeue",) if row.discarded_at else ("requeue", "discard")
        return ("discard",) if row.state == State.PENDING else ()

    def found_by(self, row: Delivery) -> str:
        return row.message.written_id

    @admin.display(description=_("message"))
    def message_id_link(self, row: Delivery) -> SafeString:
        url = reverse("admin:relay_message_change", args=[row.message_id])
        return format_html('<a href="{}">{}</a>', url, row.message.written_id)

    @admin.display(description=_("message"))
    def short_id(self, row: Delivery) -> SafeString:
        return format_html('<code title="{}">{}</code>', row.message.written_id, row.message.written_id[:8])

    @admin.display(description=_("from"), ordering="message__sender__name")
    def sent_by(self, row: Delivery) -> str:
        return row.message.sender.name

    @admin.display(description=_("room"))
    def room(self, row: Delivery) -> str:
        return str(row.message.room or "–")

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, row: Delivery) -> SafeString:
        return badge_of(row)

    @admin.display(description=_("age"), ordering="accepted_at")
    def age(self, row: Delivery) -> SafeString:
        at = timezone.localtime(row.accepted_at).strftime("%Y-%m-%d %H:%M:%S")
        return format_html(
            '<span title="{}">{}</span>', gettext("accepted %(at)s") % {"at": at}, timesince(row.accepted_at, depth=1)
        )

    @admin.display(description=_("next attempt"))
    def next(self, row: Delivery) -> SafeString | str:
        return outlook_admin.column(row)

    @admin.display(description=_("last attempt took"))
    def last_took(self, row: Delivery) -> str:
        return "–" if row.last_seconds is None else f"{row.last_seconds:.3f} s"

    @admin.display(description=_("last answer that was no success"))
    def last_answer(self, row: Delivery) -> str:
        return Attempt.objects.last_answers([row.pk]).get(row.pk, "") or "–"

    @admin.display(description=_("payload"))
    def payload_facts(self, row: Delivery) -> str:
        return payload_facts(row.message)

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("relay.requeue_delivery")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("relay.discard_delivery")

    @previewed(
        requeued,
        description=gettext_lazy("Requeue dead letters: try them again now"),
        permissions=["requeue"],
        prepare=lambda rows: rows.with_obstacle(),
        done=gettext_lazy("%(count)s requeued. %(left)s left alone."),
    )
    def requeue(self, request: HttpRequest, rows: list[Delivery], said: dict[str, Any]) -> int:
        return dead_letters.requeue_chosen([row.pk for row in rows], actor=actor(request))

    @previewed(
        discarded,
        description=gettext_lazy("Discard: give up for good, and tell senders of pending ones"),
        permissions=["discard"],
        done=gettext_lazy("%(count)s discarded. %(left)s left alone."),
    )
    def discard(self, request: HttpRequest, rows: list[Delivery], said: dict[str, Any]) -> int:
        return dead_letters.discard_chosen([row.pk for row in rows], actor=actor(request))

    def too_many(self, limit: int) -> str:
        url = reverse("admin:relay_deadletterjob_add")
        said = gettext('More than {} at once are done in a job: <a href="{}">name a recipient, or since when</a>.')
        return format_html(said, limit, url)


def badge_of(row: Delivery) -> SafeString:
    state = row.get_state_display()
    text = gettext("%(state)s, discarded") % {"state": state} if row.discarded_at else state
    return badge(text, _COLOURS[State(row.state)])


def payload_facts(message: Message) -> str:
    """Size and digest: the payload itself is nobody's business but the two ends'."""
    return gettext("%(payload_size)s bytes of %(content_type)s; digest %(digest)s…") % {
        "payload_size": message.payload_size,
        "content_type": message.content_type,
        "digest": message.digest[:16] or "–",
    }


class DeliveriesOfMessage(InlineFormSet):
    """A page of them, with what goes before them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        outlook_admin.look_ahead(self.get_queryset())


class DeliveryInline(TabularInline):
    model = Delivery
    formset = DeliveriesOfMessage
    per_page = 50  # a message to a room has one for each of its members
    hide_title = True  # the first column leads to its page
    ordering = ("id",)
    extra = 0
    can_delete = False
    fields = readonly_fields = (
        "to", "state_badge", "attempts", "next", "delivered_at", "last_status", "what_failed",
    )  # fmt: skip
    what_failed = told("last_error", _("last error"))

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("recipient__breaker")

    @admin.display(description=_("recipient"))
    def to(self, row: Delivery) -> SafeString:
        url = reverse("admin:relay_delivery_change", args=[row.pk])
        return format_html('<a href="{}">{}</a>', url, row.recipient_name)

    @admin.display(description=_("state"))
    def state_badge(self, row: Delivery) -> SafeString:
        return badge_of(row)

    @admin.display(description=_("next attempt"))
    def next(self, row: Delivery) -> SafeString | str:
        return outlook_admin.column(row)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("written_id", "sender", "send_to", "room", "model_type", "payload_size", "accepted_at")
    list_filter = (("room", NamedFilter), "accepted_at")
    list_select_related = ("sender", "room")
    search_fields = ("written_id", "written_ref", "sender__name", "send_to")
    ordering = ("-id",)
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    inlines = (DeliveryInline,)
    fields = (
        "written_id", "written_ref", "conversation", "sender", "sent_by", "send_to", "room", "model_type",
        "payload_facts", "accepted_at", "expires_at",
    )  # fmt: skip
    readonly_fields = ("payload_facts",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return Message.objects.defer("payload")

    @admin.display(description=_("payload"))
    def payload_facts(self, row: Message) -> str:
        return payload_facts(row)


class FilledFilter(admin.SimpleListFilter):
    title = _("quota")
    parameter_name = "filled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("100", gettext("Reached")), ("90", gettext("90 % or more")), ("50", gettext("Half or more"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        return queryset.filled(int(value)) if value in ("100", "90", "50") else queryset


@admin.register(StoredBytes)
class StoredBytesAdmin(ReadOnlyAdmin):
    """What each sender has stored, the most first; what its payloads are is nobody's business here."""

    list_display = ("participant", "stored", "of_quota", "counted_at")
    fields = readonly_fields = ("participant", "stored", "of_quota", "counted_at", "undelivered", "dead_letters")
    list_filter = (FilledFilter,)
    list_select_related = ("participant",)
    search_fields = ("participant__name",)
    ordering = ("-size",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return StoredBytes.objects.with_quota()

    @admin.display(description=_("its messages that wait"))
    def undelivered(self, row: StoredBytes) -> SafeString:
        return self._deliveries(row, state__exact=State.PENDING.value)

    @admin.display(description=_("its dead letters"))
    def dead_letters(self, row: StoredBytes) -> SafeString:
        return self._deliveries(row, dead="open")

    def _deliveries(self, row: StoredBytes, **query: str) -> SafeString:
        query = {**query, "sender__id__exact": str(row.pk)}
        url = f"{reverse('admin:relay_delivery_changelist')}?{urlencode(query)}"
        return format_html('<a href="{}">{}</a>', url, gettext("Look at them"))

    @admin.display(description=_("stored"), ordering="size")
    def stored(self, row: StoredBytes) -> str:
        return filesizeformat(max(0, row.size))

    @admin.display(description=_("of its quota"))
    def of_quota(self, row: Any) -> SafeString | str:
        if not row.quota:
            return gettext("no limit")
        percent = 100 * max(0, row.size) // row.quota
        text = gettext("%(percent)s %% of %(quota)s") % {"percent": percent, "quota": filesizeformat(row.quota)}
        return badge(text, RED) if percent >= 90 else text
