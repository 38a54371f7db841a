"""Leases of what was claimed: given back, begun anew, and taken again after a crash of the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from relay.delivery.claimed import LEASE, Claimed
from relay.models import Delivery, State


def hand_back(claimed: Collection[Claimed]) -> int:
    """Gives up claims whose attempt did not end: due again at once, the attempt not counted."""
    return sum(
        rows.update(state=State.PENDING, lease_until=None, lease_token=None, attempts=F("attempts") - 1)
        for rows in _held_by(claimed)
    )


def take_again(claimed: Collection[Claimed]) -> int:
    """Claims anew, under the same leases, what a crash of the database has undone. Returns how many."""
    alike: dict[tuple[int, int], list[int]] = {}
    for each in claimed:
        alike.setdefault((each.token, each.attempts), []).append(each.id)
    return sum(_take_again(token, attempts, ids) for (token, attempts), ids in alike.items())


def _take_again(token: int, attempts: int, ids: list[int]) -> int:
    undone = Delivery.objects.filter(id__in=ids, attempts=attempts - 1).in_state(State.PENDING)
    until = timezone.now() + LEASE
    try:
        with transaction.atomic():
            return undone.update(state=State.DELIVERING, attempts=attempts, lease_until=until, lease_token=token)
    except IntegrityError:  # something else of the conversation is under a lease, which was not undone
        return sum(_take_again(token, attempts, [each]) for each in ids) if len(ids) > 1 else 0


def renew(claimed: Collection[Claimed]) -> int:
    """Their leases begin anew. Returns how many still were ours."""
    until = timezone.now() + LEASE
    return sum(rows.update(lease_until=until) for rows in _held_by(claimed))


def _held_by(claimed: Collection[Claimed]) -> Iterator[QuerySet[Delivery]]:
    by_token: dict[int, list[int]] = {}
    for each in claimed:
        by_token.setdefault(each.token, []).append(each.id)
    for token, ids in by_token.items():
        yield Delivery.objects.filter(id__in=ids, lease_token=token).in_state(State.DELIVERING)
