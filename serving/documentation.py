"""The page at ``/docs``: what ``/openapi.json`` says, in words; the usual pages load scripts from afar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import FileResponse, HTMLResponse, Response

from reports.templating import open_templates
from serving.errors import STATUS
from serving.schemas import ErrorAnswer

FOLDER = Path(__file__).resolve().parent / "templates"
METHODS = ("get", "post")
BEARER = "bearer"


def errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What an operation may answer instead, for its description.

    Args:
        codes: Of :data:`serving.errors.STATUS`; those that any operation may answer are always among them.
    """
    by_status: dict[int | str, list[str]] = {}
    for code in sorted({*codes, "foreign_page", "invalid", "internal"}, key=lambda code: (STATUS[code], code)):
        by_status.setdefault(STATUS[code], []).append(code)
    return {
        status: {"model": ErrorAnswer, "description": f"Code {' or '.join(named)}.", **_headers_of(status)}
        for status, named in by_status.items()
    }


def _headers_of(status: int | str) -> dict[str, Any]:
    if status != STATUS["busy"]:
        return {}
    return {"headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}}


def request_body(schemas: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """The description of a body that a route reads by itself.

    Args:
        schemas: By content type.
    """
    content = {kind: {"schema": schema.model_json_schema()} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


def add_documentation(app: FastAPI, *, with_token: bool) -> None:
    """Give an application its ``/docs``.

    Args:
        app: With its routes.
        with_token: Whether they ask for a token.
    """
    template = open_templates(FOLDER).get_template("docs.html.j2")

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            if with_token:
                _ask_for_token(described)
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return HTMLResponse(template.render(operations=_operations(app.openapi()), with_token=with_token))

    @app.get("/docs/style.css", include_in_schema=False)
    async def style() -> Response:
        return FileResponse(FOLDER / "docs.css")


def _ask_for_token(described: dict[str, Any]) -> None:
    described["components"]["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
    for path, operations in described["paths"].items():
        if path not in ("/healthz", "/readyz"):
            for operation in operations.values():
                operation["security"] = [{BEARER: []}]


def _operations(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the page shows of each operation."""
    schemas = described["components"]["schemas"]
    return [
        {
            "method": method.upper(),
            "path": path,
            "description": operation.get("description", ""),
            "parameters": operation.get("parameters", []),
            "bodies": [
                {"kind": kind, "fields": _fields(content["schema"]), "example": _example(content["schema"])}
                for kind, content in operation.get("requestBody", {}).get("content", {}).items()
            ],
            "answers": [
                {"status": status, "description": answer["description"], "example": _answered(answer, schemas)}
                for status, answer in sorted(operation["responses"].items())
            ],
        }
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    ]


def _fields(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "required": name in schema.get("required", []),
            "kind": _kind(field),
            "default": json.dumps(field["default"]) if field.get("default") not in (None, []) else "",
            "description": field.get("description", ""),
        }
        for name, field in schema["properties"].items()
    ]


def _kind(field: Mapping[str, Any]) -> str:
    """Type and range in words."""
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"] if option.get("type") != "null")
    if "const" in field or "enum" in field:
        return " or ".join(json.dumps(value) for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    if field.get("format") == "binary":
        return "file"
    signs = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    limits = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
    limits += [f"to {field['maxLength']} characters"] if "maxLength" in field else []
    return " ".join([field.get("type", ""), *limits])


def _example(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema["examples"][0], indent=2) if schema.get("examples") else ""


def _answered(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    place = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    name = place.rpartition("/")[2]
    return "" if name in ("", ErrorAnswer.__name__) else _example(schemas[name])
