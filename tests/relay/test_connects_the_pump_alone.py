"""The pump's database has one connection, its thread's: waiting for a lost one leaves none behind in another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import connection, connections

from relay.delivery.database import DeliveryDatabase


@pytest.mark.django_db(transaction=True)
def test_it_connects_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    kind = type(connections["default"])
    original = kind.get_new_connection

    def connect(self: Any, parameters: Any) -> Any:
        made.append(self)
        return original(self, parameters)

    connection.close()
    monkeypatch.setattr(kind, "get_new_connection", connect)
    database = DeliveryDatabase(lambda: ())
    try:
        asyncio.run(database.connect())
        assert made == [database.thread.submit(lambda: connections["default"]).result()]
    finally:
        database.thread.submit(lambda: connection.close()).result()
        database.thread.shutdown()
