"""The routes of the service."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from captioning.model import CaptionModel
from serving.bodies import from_form, from_json
from serving.documentation import add_documentation, errors, request_body
from serving.errors import Refusal
from serving.limits import Gate, Limits
from serving.schemas import (
    LONGEST_NAME,
    CaptionAnswer,
    CaptionForm,
    CaptionRequest,
    CompletionAnswer,
    CompletionRequest,
    Health,
    ModelInfo,
    ModelsAnswer,
    StyleInfo,
    StylesAnswer,
)
from serving.service import Service
from serving.telemetry import Numbers, Watched, error_response
from serving.texts import TextCompleter

PAGE = Path(__file__).resolve().parent / "page"
JSON, FORM = "application/json", "multipart/form-data"

api = APIRouter()


@api.post(
    "/v1/captions",
    tags=["captions"],
    response_model=CaptionAnswer,
    responses=errors(
        *("bad_request", "unauthorized", "unknown_model", "too_slow", "too_large", "not_a_picture"),
        *("unknown_style", "busy", "draining", "timeout"),
    ),
    openapi_extra=request_body({JSON: CaptionRequest, FORM: CaptionForm}),
)
async def captions(request: Request) -> CaptionAnswer:
    """Caption a picture in one style or several.

    The picture comes in base64 within JSON, or as a file of a form. Requests of several clients are worked on together.
    """
    service, start = service_of(request), time.monotonic()
    with service.bodies.hold() as read:
        body = await read(request)
        asked = from_json(CaptionRequest, body) if _is_json(request, FORM) else await from_form(request, body)
        del body
        return await service.caption(request, asked, start)


@api.post(
    "/autocomplete",
    tags=["captions"],
    response_model=CompletionAnswer,
    responses=errors(
        *("bad_request", "unauthorized", "unknown_model", "too_slow", "too_large", "not_a_picture"),
        *("needs_picture", "unknown_style", "busy", "draining", "timeout"),
    ),
    openapi_extra=request_body({JSON: CompletionRequest}),
)
async def autocomplete(request: Request) -> CompletionAnswer:
    """Continue a caption that somebody is writing: strings to be appended to it, likeliest first.

    Without a picture a language model continues it, where the service has one.
    """
    service = service_of(request)
    with service.bodies.hold() as read:
        body = await read(request)
        _is_json(request)
        asked = from_json(CompletionRequest, body)
        del body
        return CompletionAnswer(result=await service.complete(request, asked))


@api.get("/v1/models", tags=["models"], response_model=ModelsAnswer, responses=errors("unauthorized", "draining"))
async def models(request: Request) -> ModelsAnswer:
    """The models that can be asked."""
    service = service_of(request)
    return ModelsAnswer(models=[_info(one.model) for one in service.hosted.values()], default=service.default)


@api.get(
    "/v1/styles",
    tags=["models"],
    response_model=StylesAnswer,
    responses=errors("unauthorized", "unknown_model", "invalid", "draining"),
)
async def styles(
    request: Request,
    model: Annotated[str | None, Query(max_length=LONGEST_NAME, description="Name of a model.")] = None,
) -> StylesAnswer:
    """The styles that a model has learnt, with their other names."""
    asked = service_of(request).model(model).model
    names: dict[str, list[str]] = {style: [] for style in asked.styles}
    for alias, style in asked.aliases.items():
        if style in names:
            names[style].append(alias)
    listed = [StyleInfo(name=name, aliases=aliases) for name, aliases in names.items()]
    return StylesAnswer(model=asked.name, neutral=asked.neutral, styles=listed)


@api.get("/healthz", tags=["operation"], response_model=Health)
async def healthz() -> Health:
    """Whether the process lives."""
    return Health(status="ok")


@api.get("/readyz", tags=["operation"], response_model=Health, responses=errors("draining"))
async def readyz(request: Request) -> Health:
    """Whether requests are taken: all models are there, and the service is not about to end."""
    if service_of(request).draining:
        raise Refusal("draining", "the service is about to end")
    return Health(status="ok")


@api.get(
    "/metrics",
    tags=["operation"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors("unauthorized")},
)
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    return Response(generate_latest(service_of(request).numbers.registry), media_type=CONTENT_TYPE_LATEST)


@api.get("/", include_in_schema=False)
async def page() -> Response:
    """The web page."""
    if not (PAGE / "index.html").is_file():
        raise Refusal("not_found", "there is no page here; see /docs")
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


def service_of(request: Request) -> Service:
    """What the request's application serves with."""
    service: Service = request.app.state.service
    return service


def make_app(
    models: Sequence[CaptionModel],
    limits: Limits,
    token: str | None = None,
    text_completer: TextCompleter | None = None,
    hosts: Collection[str] = (),
) -> FastAPI:
    """The application; its ``state.service`` is what it serves with.

    Args:
        models: Of different names; the first answers where none is named.
        limits: What a client may ask for.
        token: That clients have to give; None asks for none.
        text_completer: Continues texts without a picture; None where nothing can.
        hosts: Names that it answers to, see :class:`serving.limits.Gate`; none are all.

    Raises:
        ValueError: If there is no model, or two have the same name.
    """
    numbers = Numbers()
    service = Service(models, limits, numbers, text_completer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="StyleCap",
        description="Captions of pictures in a style.",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to an address that the client's Host header would make up
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_middleware(Gate, token=token, is_draining=lambda: service.draining, hosts=hosts)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_fault)
    app.include_router(api)
    add_documentation(app, with_token=token is not None)
    paths = {path for route in (*app.routes, *api.routes) if isinstance(path := getattr(route, "path", None), str)}
    app.add_middleware(Watched, numbers=numbers, paths=paths)
    if PAGE.is_dir():
        app.mount("/static", StaticFiles(directory=PAGE), name="static")
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error_response(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()[:3])
    return error_response(Refusal("invalid", told))


async def _http_fault(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: paths that lead nowhere, methods that they do not have."""
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "wrong_method"}
    code = codes.get(error.status_code, "bad_request")
    return error_response(Refusal(code, str(error.detail), error.headers))


def _is_json(request: Request, *others: str) -> bool:
    """Whether the body is JSON; False if it is one of the others."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, *others):
        raise Refusal("wrong_content_type", f"Content-Type: must be {' or '.join((JSON, *others))}")
    return kind == JSON


def _info(model: CaptionModel) -> ModelInfo:
    decoding: dict[str, Any] = asdict(model.decoding) | model.lm_weights()
    return ModelInfo(
        name=model.name,
        styles=[*model.styles],
        neutral=model.neutral,
        image_size=model.image_size,
        parameters=model.parameters,
        decoding=decoding,
    )
