"""The bodies of requests to what they ask for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.errors import Refusal
from serving.schemas import CaptionForm

Asked = TypeVar("Asked", bound=BaseModel)

MOST_VALUES = 4096
"""Signs that part values in a JSON body. A picture in base64 has none, so more belong to no request of ours; they would
take a hundred times the body's length in memory."""
MOST_FIELDS = 1100
"""Of a form."""
FIELD_BYTES = 4096
LONGEST_KIND = 500
"""Characters of the header Content-Type; the time that its parameters take grows with the square of them."""
REPEATED = ("style", "styles")
BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=?-]{1,70}")
FAULTS_TOLD = 3


class _InMemory(MultiPartParser):
    """Puts no file on a disk: the body is in memory anyway, and is bounded."""

    spool_max_size = 0


def from_json(schema: type[Asked], body: bytes) -> Asked:
    """A body of JSON.

    Raises:
        Refusal: If it is no JSON, or not what the schema says.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise Refusal("bad_request", f"the JSON has more than {MOST_VALUES} values")
    try:
        return schema.model_validate_json(body, strict=True)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise Refusal("bad_request", f"the body is no JSON: {_reasons(error)}") from None
        raise Refusal("invalid", _reasons(error)) from None


async def from_form(request: Request, body: bytes) -> CaptionForm:
    """A body of multipart/form-data.

    Raises:
        Refusal: If it is none, or not what the schema says.
    """
    kind = request.headers.get("content-type", "")
    if len(kind) > LONGEST_KIND:
        raise Refusal("bad_request", f"Content-Type: has more than {LONGEST_KIND} characters")
    _, options = parse_options_header(kind)
    boundary = options.get(b"boundary", b"")
    if not BOUNDARY.fullmatch(boundary):
        raise Refusal("bad_request", "the form's boundary is missing, or holds what it must not")

    async def stream() -> AsyncIterator[bytes]:
        yield body

    # Without its charset: fields are UTF-8, and not in any code that Python knows.
    headers = Headers({"content-type": f'multipart/form-data; boundary="{boundary.decode("ascii")}"'})
    parser = _InMemory(headers, stream(), max_files=1, max_fields=MOST_FIELDS, max_part_size=FIELD_BYTES)  # type: ignore[arg-type]
    try:
        # In a thread, for it looks at some bytes one by one: a file of line ends takes seconds.
        form = await asyncio.to_thread(asyncio.run, parser.parse())
    except MultiPartException as error:
        raise Refusal("bad_request", f"the form cannot be read: {error.message}") from None
    try:
        return CaptionForm.model_validate(await _fields(form))
    except ValidationError as error:
        raise Refusal("invalid", _reasons(error)) from None


async def _fields(form: FormData) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            fields[name] = await value.read()
        elif name in REPEATED:
            fields.setdefault(name, []).extend([value] if value else [])
        elif name in fields:
            raise Refusal("invalid", f"{name[:40]!r}: given twice")
        elif value:  # a browser sends what was left empty
            fields[name] = value
    return fields


def _reasons(error: ValidationError) -> str:
    """The first faults, without what was sent: it may be long, and is nobody else's business."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{'.'.join(str(part)[:40] for part in fault['loc'])}: {fault['msg']}".lstrip(": ") for fault in faults]
    return "; ".join(told[:FAULTS_TOLD]) + (f"; and {len(told) - FAULTS_TOLD} more" if len(told) > FAULTS_TOLD else "")
