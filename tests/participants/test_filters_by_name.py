"""Lists filtered by what a foreign key leads to: a choice of few, or a part of the name where they are many."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from participants import registry
from participants.admin import filters
from participants.models import Institution, Room
from relay.models import Message
from tests import factories

pytestmark = pytest.mark.django_db

URL = reverse("admin:participants_participant_changelist")
FIELD = 'name="institution_named"'


def page(client: Client, url: str = URL, **query: Any) -> str:
    answer = client.get(url, query)
    assert answer.status_code == 200
    return answer.content.decode()


def many(count: int = filters.MOST_LISTED + 1) -> list[Institution]:
    return [factories.institution(f"Agency {number:03}") for number in range(count)]


def rows(text: str) -> str:
    return text.split('id="result_list"')[1] if 'id="result_list"' in text else ""


def test_few_are_a_choice(admin_client: Client) -> None:
    one = factories.institution("Tax board")
    factories.participant("tax-bot", institution=one)
    factories.participant("other-bot")
    text = page(admin_client)
    assert "Tax board</a></li>" in text
    assert FIELD not in text
    chosen = page(admin_client, institution__id__exact=one.pk)
    assert "tax-bot" in rows(chosen)
    assert "other-bot" not in rows(chosen)
    assert '<strong class="dmr-narrow">Tax board</strong>' in chosen


def test_of_many_a_part_of_the_name_is_typed(admin_client: Client) -> None:
    first = many()[0]
    factories.participant("tax-bot", institution=first)
    factories.participant("other-bot")
    text = page(admin_client, status__exact="Active", p=1)
    assert FIELD in text
    assert "Agency 030" not in text
    assert '<input type="hidden" name="status__exact" value="Active">' in text, "the other filters stay"
    assert 'type="hidden" name="p"' not in text, "but not the page"
    found = page(admin_client, institution_named=" agency 0 ".strip())
    assert "tax-bot" in rows(found)
    assert "other-bot" not in rows(found)
    assert "with “agency 0”" in found


def test_one_of_many_is_chosen_by_a_link(admin_client: Client) -> None:
    first, second, *_ = many()
    factories.participant("tax-bot", institution=first)
    factories.participant("other-bot", institution=second)
    text = page(admin_client, institution__id__exact=first.pk)
    assert "tax-bot" in rows(text)
    assert "other-bot" not in rows(text)
    assert '<strong class="dmr-narrow">Agency 000</strong>' in text
    assert "Agency 001</a></li>" not in text


@pytest.mark.parametrize("key", ["", "x", "²", "9" * 20, "-1", "5,6"])
def test_a_key_that_is_none_chooses_nothing(admin_client: Client, key: str) -> None:
    many()
    factories.participant("tax-bot")
    assert "tax-bot" in rows(page(admin_client, institution__id__exact=key))


def test_what_is_typed_is_escaped_and_cut(admin_client: Client) -> None:
    many()
    text = page(admin_client, institution_named="<script>" + "x" * 500)
    assert "<script>x" not in text
    assert f'value="&lt;script&gt;{"x" * 92}"' in text


def test_deleted_ones_are_not_offered(admin_client: Client) -> None:
    gone = factories.institution("Gone board")
    registry.remove_institution(gone, actor="anna")
    assert "Gone board" not in page(admin_client)


def test_none_is_a_choice_where_there_may_be_none(admin_client: Client) -> None:
    for number in range(filters.MOST_LISTED + 1):
        Room.objects.create(name=f"room {number}")
    sender, recipient = factories.participant(), factories.participant()
    message = factories.message(sender, recipient.name)
    Message.objects.update(room=None)
    url = reverse("admin:relay_message_changelist")
    assert str(message.written_id) in rows(page(admin_client, url, room__isnull="True"))
    assert "room__isnull=True" in page(admin_client, url)
    assert 'name="room_named"' in page(admin_client, url)
    assert rows(page(admin_client, url, room_named="room 1")) == ""


def test_it_costs_the_same_however_many_there_are(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    many(200)
    factories.participant()
    with django_assert_max_num_queries(20):
        text = page(admin_client)
    assert text.count("<li>") < 200
