"""The OpenAPI document says enough of each operation that a client can be written from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

# Lists that hold no more than a caller asks for, or that the network's contract, or Prometheus, has as they are.
UNPAGED = {
    "GET /api/v1/inbox",
    "GET /api/v1/keys",
    "GET /api/v1/public-keys",
    "GET /api/v1/observability/targets",
    "GET /api/v1/participants/changes",  # goes on by its cursor, for ever
}


@pytest.fixture(scope="module")
def document() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for address, found in document["paths"].items():
        for method, operation in found.items():
            yield f"{method.upper()} {address}", operation


def without_example(schema: Any, path: str) -> Iterator[str]:
    """Texts of a JSON value that nothing shows what they look like."""
    if "example" in schema or "enum" in schema:
        return
    for key in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(key, ()):
            yield from without_example(each, path)
    for name, each in schema.get("properties", {}).items():
        yield from without_example(each, f"{path}.{name}")
    if "items" in schema:
        yield from without_example(schema["items"], f"{path}[]")
    if schema.get("type") == "string" or not schema:
        yield path


def json_schemas(operation: Any) -> Iterator[Any]:
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        content = body.get("content", {}).get("application/json")
        if content is not None:
            yield content["schema"]


def test_each_operation_is_described_and_has_a_name_of_its_own(document: Any) -> None:
    assert [label for label, operation in operations(document) if not operation.get("description")] == []
    said = [operation["description"] for _, operation in operations(document)]
    assert len(set(said)) == len(said), "a docstring of a class that several share"
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_each_body_has_examples(document: Any) -> None:
    bare = {
        f"{label}: {path}"
        for label, operation in operations(document)
        for schema in json_schemas(operation)
        for path in without_example(schema, "body")
    }
    assert bare == set()


def test_each_refusal_is_a_problem(document: Any) -> None:
    for label, operation in operations(document):
        refusals = {status: said for status, said in operation["responses"].items() if int(status) >= 400}
        assert {"400", "503"} <= set(refusals), label
        assert ({"401", "403", "429"} <= set(refusals)) == any(operation.get("security", ())), label
        for said in refusals.values():
            assert list(said["content"]) == ["application/problem+json"], label
            assert said["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert said["description"], label


def test_each_success_has_a_shape(document: Any) -> None:
    for label, operation in operations(document):
        for schema in json_schemas(operation):
            assert set(schema) & {"properties", "items", "enum", "anyOf", "additionalProperties"}, label


def test_lists_that_can_grow_come_in_pages(document: Any) -> None:
    """`{"<rows>": […], "next"}`, the next page by `after`, at most `limit` of them."""
    for label, operation in operations(document):
        if not label.startswith("GET /api/v1/") or label in UNPAGED:
            continue
        content = operation["responses"]["200"]["content"]
        if "application/json" not in content:
            continue
        schema = content["application/json"]["schema"]
        assert schema["type"] == "object", f"{label} is a bare list"
        if any(each.get("items", {}).get("type") == "object" for each in schema["properties"].values()):
            assert "next" in schema["properties"], label
            assert {"after", "limit"} <= {each["name"] for each in operation["parameters"]}, label
