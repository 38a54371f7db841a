"""GET /api/v1/observability/targets, for Prometheus' HTTP service discovery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from observability.targets import endpoint
from participants import life, registry
from tests.observability.conftest import Agent

TARGETS = "/api/v1/observability/targets"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("http://bot:8080/dmr-api/messages", ("http", "bot:8080")),
        ("http://bot/messages", ("http", "bot:80")),
        ("https://bot.example.ee/messages", ("https", "bot.example.ee:443")),
        ("http://[2001:db8::1]/messages", ("http", "[2001:db8::1]:80")),
        ("https://[2001:db8::1]:8443/", ("https", "[2001:db8::1]:8443")),
    ],
)
def test_host_and_port_of_an_endpoint(host: str, expected: tuple[str, str]) -> None:
    assert endpoint(host) == expected


@pytest.mark.django_db
class TestTargets:
    @pytest.fixture
    def get(self, client: Client, staff_key: str) -> Callable[[], Any]:
        return lambda: client.get(TARGETS, headers={"X-Api-Key": staff_key})

    def test_shape(self, agent: Agent, get: Callable[[], Any]) -> None:
        agent.check_in()
        response = get()
        assert response.status_code == 200
        assert response["Content-Type"] == "application/json"
        group = next(each for each in response.json() if each["labels"]["participant"] == "bot-tallinn")
        assert group == {
            "targets": [agent.row.host.removeprefix("http://").removesuffix("/messages") + ":80"],
            "labels": {
                "__scheme__": "http",
                "__meta_dmr_id": str(agent.row.public_id),
                "__meta_dmr_endpoint": agent.row.host,
                "__meta_dmr_health": "ok",
                "__meta_dmr_version": "1.0.0",
                "participant": "bot-tallinn",
                "institution": agent.row.institution.name,
                "type": "Chatbot",
                "state": "Active",
            },
        }

    def test_who_has_left_the_network_is_left_out(
        self, new_agent: Callable[..., Agent], get: Callable[[], Any]
    ) -> None:
        stays, revoked, suspended = new_agent(), new_agent(), new_agent()
        life.revoke([revoked.row], actor="tests", reason="it left")
        life.suspend([suspended.row], actor="tests", reason="for a while")
        names = {each["labels"]["participant"] for each in get().json()}
        assert {stays.row.name, suspended.row.name} <= names
        assert revoked.row.name not in names

    def test_everybody_present_in_a_constant_number_of_queries(
        self, new_agent: Callable[..., Agent], get: Callable[[], Any], django_assert_num_queries: Any
    ) -> None:
        agents = [new_agent() for _ in range(10)]
        registry.set_status([agents[0].row], "Suspended", actor="test")
        registry.remove_participant(agents[1].row, actor="test")
        with django_assert_num_queries(1):
            groups = get().json()
        assert len(groups) == 10  # nine and the relay itself
        assert [each["labels"]["state"] for each in groups].count("Suspended") == 1
        values = [value for each in groups for value in each["labels"].values()]
        assert all(isinstance(value, str) for value in values)

    def test_needs_a_staff_key(self, agent: Agent, client: Client) -> None:
        assert client.get(TARGETS).status_code == 401
        assert client.get(TARGETS, headers=agent.registered.auth).status_code == 403
