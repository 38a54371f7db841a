"""What staff can do to a delivery or a breaker stands on its page, and not in its list alone."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from relay.models import Breaker, Delivery, State
from tests import factories
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db


def page_of(client: Client, row: Any) -> str:
    url = reverse(f"admin:relay_{row._meta.model_name}_change", args=[row.pk])
    page: str = client.get(url).content.decode()
    return page


def offered(page: str) -> list[str]:
    return re.findall(r'name="action" value="(\w+)"', page)


def press(client: Client, page: str, name: str) -> str:
    """The button of an action on a page, and then the yes of the page that shows what it would do."""
    (form,) = (each for each in page.split("<form")[1:] if f'name="action" value="{name}"' in each)
    url = re.findall(r'action="([^"]+)"', form)[0].replace("&amp;", "&")
    page = client.post(url, dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))).content.decode()
    form = page.partition('id="bulk"')[2].partition("</form>")[0]
    said = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))
    done: str = client.post(url, said, follow=True).content.decode()
    return done


def delivery(state: str, **columns: Any) -> Delivery:
    ended = None if state == "pending" else timezone.now()
    return factories.delivery(
        factories.participant(), factories.participant(), state=state, ended_at=ended, **columns
    )


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("dead", ["requeue", "discard"]),
        ("expired", ["requeue", "discard"]),
        ("pending", ["discard"]),
        ("delivered", []),
    ],
)
def test_a_delivery_offers_what_would_change_it(admin_client: Client, state: str, expected: list[str]) -> None:
    assert offered(page_of(admin_client, delivery(state))) == expected


def test_a_discarded_dead_letter_can_still_be_requeued(admin_client: Client) -> None:
    assert offered(page_of(admin_client, delivery("dead", discarded_at=timezone.now()))) == ["requeue"]


def test_a_dead_letter_is_requeued_from_its_page(admin_client: Client) -> None:
    row, other = delivery("dead"), delivery("dead")
    done = press(admin_client, page_of(admin_client, row), "requeue")
    assert "1 requeued. 0 left alone" in done
    row.refresh_from_db()
    other.refresh_from_db()
    assert (row.state, other.state) == (State.PENDING, State.DEAD)


def test_a_breaker_is_closed_from_its_page(admin_client: Client) -> None:
    row = Breaker.objects.create(recipient=factories.participant().row, state="parked", opened_at=timezone.now())
    assert "1 closed." in press(admin_client, page_of(admin_client, row), "close")
    row.refresh_from_db()
    assert row.state == Breaker.State.CLOSED
    assert offered(page_of(admin_client, row)) == []


def test_no_other_button_of_these_pages_says_close(admin_client: Client) -> None:
    row = Breaker.objects.create(recipient=factories.participant().row, state="parked")
    assert re.findall(r">\s*(Close[^<]*?)\s*</", page_of(admin_client, row)) == ["Close: try the recipient again now"]


def test_who_may_not_is_offered_nothing() -> None:
    client = browser(person("viewer"))
    assert offered(page_of(client, delivery("dead"))) == []
    row = Breaker.objects.create(recipient=factories.participant().row, state="parked")
    assert offered(page_of(client, row)) == []


class TestABreaker:
    LIST = "admin:relay_breaker_changelist"

    def test_tells_what_waits_and_when_it_is_tried(self, admin_client: Client) -> None:
        sender, failing, paused = (factories.participant() for _ in range(3))
        soon, later = timezone.now() + timedelta(seconds=60), timezone.now() + timedelta(minutes=30)
        for to, due_at in ((failing, timezone.now()), (failing, later), (paused, later)):
            factories.delivery(sender, to, due_at=due_at)
        for to in (failing, paused):
            Breaker.objects.create(recipient=to.row, state="open", probe_at=soon, opened_at=timezone.now())
        page = admin_client.get(reverse(self.LIST)).content.decode()
        link = (
            f'{reverse("admin:relay_delivery_changelist")}?recipient={failing.name}&amp;state__exact=pending">2</a>'
        )
        assert link in page
        assert re.search(r"in (59|60) s", page)
        assert re.search(r"in (29|30) min, at ", page)

    def test_of_whom_nothing_waits_is_tried_with_the_next_message(self, admin_client: Client) -> None:
        row = Breaker.objects.create(
            recipient=factories.participant().row, state="open", probe_at=timezone.now(), opened_at=timezone.now()
        )
        assert "with the next message to it" in page_of(admin_client, row)

    def test_that_is_parked_is_tried_by_nobody(self, admin_client: Client) -> None:
        row = Breaker.objects.create(recipient=factories.participant().row, state="parked")
        assert "none until it is closed" in page_of(admin_client, row)

    def test_with_very_much_behind_it_is_counted_no_further(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("relay.breaker_admin.MOST_COUNTED", 1)
        sender, failing = factories.participant(), factories.participant()
        for _ in range(3):
            factories.delivery(sender, failing)
        Breaker.objects.create(recipient=failing.row, state="parked")
        assert ">over 1</a>" in admin_client.get(reverse(self.LIST)).content.decode()

    def test_the_list_does_not_grow_in_queries(
        self, admin_client: Client, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(20):
            Breaker.objects.create(recipient=factories.participant().row, state="parked")
        with django_assert_max_num_queries(10):
            assert admin_client.get(reverse(self.LIST)).status_code == 200
