"""A check-in is read strictly, and the answer names each bad field."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmr_project.lib.errors import InvalidInput
from observability import check_in
from observability.models import VitalSigns
from tests.observability.conftest import Agent, said

COMPONENT = {"name": "tim", "version": "1", "digest": None, "health": "ok"}

BAD: list[tuple[dict[str, Any], str]] = [
    ({"sequence": None}, "sequence"),
    ({"sequence": -1}, "sequence"),
    ({"sequence": "1"}, "sequence"),
    ({"sequence": True}, "sequence"),
    ({"sequence": 1.0}, "sequence"),
    ({"sequence": 2**63}, "sequence"),
    ({"agentVersion": None}, "agentVersion"),
    ({"agentVersion": ""}, "agentVersion"),
    ({"agentVersion": "v" * 201}, "agentVersion"),
    ({"agentVersion": "1\u0000"}, "agentVersion"),
    ({"agentVersion": "\ud800"}, "agentVersion"),
    ({"health": None}, "health"),
    ({"health": "fine"}, "health"),
    ({"health": ["ok"]}, "health"),
    ({"release": "1.0.0"}, "release"),
    ({"release": {"manifestDigest": "d"}}, "release.version"),
    ({"release": {"version": "v" * 101, "manifestDigest": "d"}}, "release.version"),
    ({"release": {"version": "1.0.0"}}, "release.manifestDigest"),
    ({"components": None}, "components"),
    ({"components": {}}, "components"),
    ({"components": [{**COMPONENT, "name": f"c{number}"} for number in range(201)]}, "components"),
    ({"components": ["tim"]}, "components[0]"),
    ({"components": [COMPONENT, {**COMPONENT, "name": ""}]}, "components[1].name"),
    ({"components": [{**COMPONENT, "name": "n" * 201}]}, "components[0].name"),
    ({"components": [{**COMPONENT, "version": 1}]}, "components[0].version"),
    ({"components": [{**COMPONENT, "health": None}]}, "components[0].health"),
    ({"components": [COMPONENT, COMPONENT]}, "components[1].name"),
    ({"measures": None}, "measures"),
    ({"measures": {"uptimeSeconds": -1}}, "measures.uptimeSeconds"),
    ({"measures": {"uptimeSeconds": 2**63}}, "measures.uptimeSeconds"),
    ({"measures": {"load1": "high"}}, "measures.load1"),
    ({"measures": {"load1": True}}, "measures.load1"),
    ({"measures": {"load1": float("inf")}}, "measures.load1"),
    ({"measures": {"memoryUsedBytes": 0.5}}, "measures.memoryUsedBytes"),
    ({"measures": {"diskFreeBytes": []}}, "measures.diskFreeBytes"),
]


@pytest.mark.parametrize(("fields", "named"), BAD)
def test_a_bad_field_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_in.parse(said(**fields))
    assert [each["field"] for each in caught.value.errors] == [named]


@pytest.mark.parametrize("name", ["sequence", "agentVersion", "release", "health", "components", "measures"])
def test_every_field_is_required(name: str) -> None:
    body = said()
    del body[name]
    with pytest.raises(InvalidInput) as caught:
        check_in.parse(body)
    assert caught.value.errors[0]["field"] == name


def test_all_bad_fields_are_named_at_once_but_not_without_end() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_in.parse({"components": [{} for _ in range(200)]})
    assert len(caught.value.errors) == check_in.MOST_ERRORS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(said(), json_values)))
def test_whatever_comes_is_taken_or_refused_and_nothing_else(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidInput):
        check_in.parse({**said(), **body})


@pytest.mark.django_db
class TestOverHTTP:
    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", json.dumps(said()).encode("utf-16"), b'{"sequence": NaN}',
         b'{"measures": {"load1": 1e999}}', b'{"sequence": ' + b"9" * 5000 + b"}", b"[" * 5000],
    )  # fmt: skip
    def test_a_malformed_body_is_a_problem(self, agent: Agent, body: bytes) -> None:
        response = agent.post(body)
        assert response.status_code == 400
        assert response["Content-Type"] == "application/problem+json"
        assert not VitalSigns.objects.exists()

    def test_the_problem_names_the_fields(self, agent: Agent) -> None:
        response = agent.post(said(health="fine", sequence=-1))
        assert response.json()["type"] == "urn:problem-type:dmr:invalid-check-in"
        assert {each["field"] for each in response.json()["errors"]} == {"health", "sequence"}

    def test_a_body_that_is_too_large(self, agent: Agent) -> None:
        response = agent.post(said(padding="x" * check_in.MOST_BYTES))
        assert response.status_code == 413

    def test_the_largest_that_is_allowed_fits(self, agent: Agent) -> None:
        components = [
            {"name": f"{number:03}" + "n" * 197, "version": "v" * 200, "digest": "d" * 200, "health": "degraded"}
            for number in range(100)
        ]
        assert agent.post(said(components=components)).status_code == 200
