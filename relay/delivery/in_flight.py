"""What a claim brings that this process has under way already. Pure.

A crash of PostgreSQL may undo a claim, and a lease may run out while its worker stands still (docs/adr/0008): then
what is under way is due again, and is claimed again. It is not attempted twice at once: the attempt that is under way
is that of the new claim. Nor is anything of a conversation begun while another of it is under way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from relay.delivery.claimed import Claimed

Key = TypeVar("Key")


@dataclass(frozen=True)
class Parted(Generic[Key]):
    """`fresh`: to be attempted; `taken_over`: claims that those under way have now; `back`: to be handed back."""

    fresh: list[Claimed]
    taken_over: dict[Key, Claimed]
    back: list[Claimed]


def part(claimed: Collection[Claimed], in_flight: Mapping[Key, Claimed]) -> Parted[Key]:
    by_id = {each.id: key for key, each in in_flight.items()}
    conversations = {(each.recipient_id, each.conversation) for each in in_flight.values() if each.conversation}
    parted: Parted[Key] = Parted([], {}, [])
    for each in claimed:
        if each.id in by_id:
            parted.taken_over[by_id[each.id]] = each
        elif (each.recipient_id, each.conversation) in conversations:
            parted.back.append(each)
        else:
            parted.fresh.append(each)
    return parted
