"""What all of the OpenAPI document has in common: words for shapes, pages, and the problems of each operation.

A view says what it takes and what it answers when all goes well, and those problems that are its own; what every
operation of its kind can be refused with is added here, so that none is forgotten.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from drf_spectacular.openapi import AutoSchema

from dmr_project.lib import fields
from dmr_project.lib.api import CODES, PROBLEM_TYPE

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
ID: Schema = {"type": "string", "format": "uuid", "example": "3f6d2c1e-8a47-4c0e-9b57-6a1f0e2d4b88"}
TIME: Schema = {"type": "string", "format": "date-time", "example": "2026-05-04T09:30:07.101Z"}
NO_NUL = "^[^\\u0000]*$"  # a pattern: no database takes it
# As registered: 4 to 50 printable ASCII characters, none at either end a space.
NAME: Schema = {
    "type": "string",
    "minLength": 4,
    "maxLength": 50,
    "pattern": "^[!-~][ -~]{2,48}[!-~]$",
    "example": "tax-board",
}


HOST: Schema = {
    "type": "string",
    "minLength": 5,
    "maxLength": 100,
    "pattern": "^https?://[!-~]+$",
    "example": "https://bot.tax.example/messages",
}


def text(example: str, **more: Any) -> Schema:
    return {**TEXT, "example": example, **more}


def one_line(example: str, most: int, **more: Any) -> Schema:
    return text(example, maxLength=most, pattern=fields.ONE_LINE, **more)


def nullable(schema: Schema, **more: Any) -> Schema:
    values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **values, "nullable": True, **more}


def choice(values: Iterable[str], **more: Any) -> Schema:
    return {**TEXT, "enum": list(values), **more}


def array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def shape(*, optional: Iterable[str] = (), **properties: Schema) -> Schema:
    """An object with these properties, all there but the `optional` ones. Others may come: shapes grow by fields."""
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", **({"required": required} if required else {}), "properties": properties}


def page(name: str, items: Schema) -> Schema:
    """A list that can grow: the rows under `name`, and `next`, which is the `after` of the page that follows."""
    return shape(**{name: array(items), "next": nullable(text("42"), description="null on the last page")})


def json(schema: Schema, *statuses: int) -> dict[tuple[int, str], Schema]:
    """An answer of JSON, for extend_schema; 200 unless said."""
    return {(status, "application/json"): schema for status in statuses or (200,)}


KEY_ID = text("5S9m0m3bqg8kQ1sXw0cQ7r2n4y6u8i0oPaSdFgHjKlZ", description="Thumbprint (RFC 7638).")
JWK = shape(
    optional=("exp",),
    kty=choice(["OKP"]),
    crv=choice(["Ed25519"]),
    x=text("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
    kid=KEY_ID,
    use=choice(["sig"]),
    alg=choice(["EdDSA"]),
    key_ops=array(choice(["verify"])),
    iat=COUNT,
    nbf=COUNT,
    exp=COUNT,
)
PROBLEM: Schema = {
    **shape(
        optional=("errors",),
        type=text("urn:problem-type:dmr:not-found", description="Stays the same for ever."),
        title=text("Not found"),
        status={"type": "integer", "minimum": 400, "maximum": 599, "example": 404},
        detail=text("There is nothing at this address.", description="What to mend, for people."),
        errors=array(
            shape(
                optional=("field", "header"),
                field=text("name"),
                header=text("X-Message-Id"),
                detail=text("is required"),
            ),
            description="Each bad field or header.",
        ),
    ),
    "description": "Why a request was refused: RFC 9457.",
}
_AGAIN: Schema = {"Retry-After": {"description": "In how many seconds.", "schema": {"type": "integer"}}}
_METHODS = ("get", "put", "post", "delete", "patch")
_UNSAFE = ("put", "post", "delete", "patch")


class DescribedOperation(AutoSchema):
    """Says of an operation what its method's docstring says, and nothing of our classes."""

    def get_description(self) -> str:  # type: ignore[override]
        return inspect.cleandoc(getattr(self.view, self.method.lower()).__doc__ or "")

    def get_summary(self) -> str:
        """The first sentence, without its stop."""
        return re.split(r"[.;:](?:\s|$)", self.get_description())[0]


def describe_problems(result: Schema, **_: Any) -> Schema:
    """drf-spectacular's hook, over the whole document."""
    components = result.setdefault("components", {}).setdefault("schemas", {})
    components["Problem"] = PROBLEM
    for address, operations in result.get("paths", {}).items():
        for method, operation in operations.items():
            if method in _METHODS:
                _add_problems(address, method, operation)
    return result


def _add_problems(address: str, method: str, operation: Schema) -> None:
    responses = operation["responses"]
    body = operation.get("requestBody")
    if body is not None and not _may_be_empty(body["content"]):
        body["required"] = True
    for status in sorted({*statuses(address, method, operation), *_own(responses)}):
        known = responses.get(str(status), {})
        responses[str(status)] = {
            "description": known.get("description") or CODES.get(status, ("", "The request failed"))[1],
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            **({"headers": _AGAIN} if status in (429, 503) else {}),
        }
    operation["responses"] = dict(sorted(responses.items()))


def _may_be_empty(content: Mapping[str, Any]) -> bool:
    """A payload; and nothing at all is read as an object without fields."""
    schema = content.get("application/json", {}).get("schema", {})
    return "text/plain" in content or (schema.get("type") == "object" and not schema.get("required"))


def statuses(address: str, method: str, operation: Mapping[str, Any]) -> set[int]:
    """What any operation of this kind can be refused with."""
    found = {400, 503}
    if any(operation.get("security", ())):
        found |= {401, 403, 429}
    if "{" in address or method in _UNSAFE:
        found |= {404}  # what the address, or the body, names is not there
    if method in _UNSAFE:
        found |= {409}
    if "requestBody" in operation:
        found |= {408, 411, 413}
        if "application/json" in operation["requestBody"]["content"]:
            found |= {415}
    return found


def _own(responses: Mapping[str, Any]) -> set[int]:
    return {int(status) for status in responses if status.isdigit() and int(status) >= 400}
