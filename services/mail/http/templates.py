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
    prefix="/v1/templates", route_class=StrictRoute, tags=["Templates"], dependencies=[Depends(Key("mails:read"))]
)

Name = Annotated[str, Path(max_length=100)]


class Preview(Strict):
    """What to render a template with."""

    variables: Metadata = Field(default_factory=dict)
    """Values for the template's variables, at most 4096 bytes of JSON."""
    locale: Locale | None = None
    """Language, BCP 47. Default: the template's own."""


class TemplateDescription(BaseModel):
    """A template, and what its variables are."""

    name: str
    """What a mail names it by."""
    description: str
    """What it is for."""
    version: str
    """A hash of its files. Each mail keeps the version that it was made from."""
    locales: list[str]
    """The languages that it has."""
    default_locale: str
    """The language for which others fall back to it."""
    variables: dict[str, dict[str, JsonValue]]
    """Each variable: whether it is required, its kind, what it is, and an example."""
    required_variables: list[str]
    """Variables that must be given."""
    optional_variables: list[str]
    """Variables that may be given."""
    on_uncertain: str
    """What happens to its mails when it cannot be known whether they left, unless the mail says otherwise."""
    on_uncertain_reason: str
    """Why."""


class TemplateList(BaseModel):
    """Every template."""

    items: list[TemplateDescription]
    """Every template."""
    next_cursor: None
    """Always null: the answer is never split."""


class RenderedTemplate(BaseModel):
    """What a mail from the template would say."""

    subject: str
    """The subject."""
    text: str
    """The plain text."""
    html: str
    """The HTML."""
    locale: str
    """The language that was used."""
    version: str
    """The version of the template."""


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
