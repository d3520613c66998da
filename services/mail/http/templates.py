"""The mail templates, and previews of them with given variables."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.fields import Locale, Strict
from shared.contract.metadata import Metadata
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..errors import UnknownTemplate, VariablesRejected
from ..intake.template_engine import Templates
from . import template_preview
from .app_state import state_of

router = APIRouter(
    prefix="/v1/templates", route_class=StrictRoute, tags=["templates"], dependencies=[Depends(Key("mails:read"))]
)

Name = Annotated[str, Path(max_length=100)]


class Preview(Strict):
    variables: Metadata = Field(default_factory=dict)
    locale: Locale | None = None


class TemplateDescription(BaseModel):
    name: str
    description: str
    version: str
    locales: list[str]
    default_locale: str
    variables: dict[str, dict[str, JsonValue]]
    required_variables: list[str]
    optional_variables: list[str]
    on_uncertain: str
    on_uncertain_reason: str


class TemplateList(BaseModel):
    items: list[TemplateDescription]
    next_cursor: None


class RenderedTemplate(BaseModel):
    subject: str
    text: str
    html: str
    locale: str
    version: str


def _templates(request: Request) -> Templates:
    state = state_of(request)
    return state.intake.templates


def _describe(request: Request, name: str) -> dict[str, Any]:
    try:
        return _templates(request).describe(name)
    except UnknownTemplate as unknown:
        raise problems.NotFound(unknown.detail) from None


@router.get("", response_model=TemplateList, responses=openapi.keyed())
async def list_templates(request: Request) -> Response:
    """Every template, with its version, locales and variables."""
    templates = _templates(request)
    return JsonResponse({"items": [templates.describe(name) for name in templates.names()], "next_cursor": None})


@router.get("/{name}", response_model=TemplateDescription, responses=openapi.keyed(problems.NotFound))
async def get_template(name: Name, request: Request) -> Response:
    """One template."""
    return JsonResponse(_describe(request, name))


@router.get(
    "/{name}/preview",
    response_class=Response,
    responses=openapi.keyed(problems.NotFound)
    | {200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "A page to save and look at"}},
)
async def preview_template_locales(name: Name, request: Request) -> Response:
    """A page with the template in every locale, text beside HTML, with the example of each variable."""
    described = _describe(request, name)
    return template_preview.page(described, _templates(request).preview(name))


@router.post(
    "/{name}/preview",
    response_model=RenderedTemplate,
    responses=openapi.keyed(problems.NotFound, VariablesRejected, problems.UnsupportedMediaType),
)
async def preview_template(name: Name, body: Preview, request: Request) -> Response:
    """Render the template with these variables. Nothing is stored or sent."""
    _describe(request, name)
    rendered = _templates(request).render(name, body.locale, body.variables)
    return JsonResponse(
        {
            "subject": rendered.subject,
            "text": rendered.text,
            "html": rendered.html,
            "locale": rendered.locale,
            "version": rendered.version,
        }
    )
