"""What the OpenAPI documents teach: texts, examples, links, problems and webhooks are there, and are true."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from services.mail.app import create_app as mail_app
from services.mail.http.document import teach as teach_mail
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app as signup_app
from services.signup.http.document import teach as teach_signup
from services.signup.settings import Settings as SignupSettings
from shared.contract.mails import MailRequest
from shared.contract.problems import MEDIA_TYPE, kinds
from shared.http.document.teaching import Teaching

Document = dict[str, Any]
PAGES = "text/html"

APPS = {"mail": mail_app(MailSettings()), "signup": signup_app(SignupSettings(signup_token_keys="k" * 32))}
DOCUMENTS: dict[str, Document] = {service: app.openapi() for service, app in APPS.items()}
both = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())


def _operations(document: Document) -> Iterator[dict[str, Any]]:
    for paths in (document["paths"], document["webhooks"]):
        for path in paths.values():
            yield from path.values()


def _bodies_and_answers(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where, media type and content of each body and of each answer that is no page."""
    for operation in _operations(document):
        name = operation["operationId"]
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            yield name, media, content
        for status, answer in operation["responses"].items():
            for media, content in answer.get("content", {}).items():
                if media != PAGES:
                    yield f"{name} {status}", media, content


def _examples(content: dict[str, Any], document: Document) -> list[Any]:
    found = [content["example"]] if "example" in content else []
    for example in content.get("examples", {}).values():
        if "$ref" in example:
            found.append(document["components"]["examples"][example["$ref"].rpartition("/")[2]]["value"])
        else:
            found.append(example["value"])
    return found


def _faults(value: Any, schema: dict[str, Any], document: Document) -> list[str]:
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(value)]


@both
def test_each_body_and_each_answer_has_an_example(document: Document) -> None:
    places = list(_bodies_and_answers(document))
    assert len(places) > 100
    assert [where for where, _, content in places if not _examples(content, document)] == []


@both
def test_each_example_is_valid(document: Document) -> None:
    faults = {
        f"{where} {media}": found
        for where, media, content in _bodies_and_answers(document)
        for example in _examples(content, document)
        if (found := _faults(example, content["schema"], document))
    }
    assert faults == {}


@pytest.mark.parametrize("service", APPS)
def test_the_service_takes_each_body_that_is_an_example(service: str) -> None:
    """Models refuse more than a schema can say."""
    document = DOCUMENTS[service]
    taken = 0
    for route in APPS[service].routes:
        if isinstance(route, APIRoute) and route.body_field is not None:
            (method,) = route.methods or {""}
            body = document["paths"][route.path_format][method.lower()]["requestBody"]
            for example in _examples(body["content"]["application/json"], document):
                TypeAdapter[Any](route.body_field.field_info.annotation or Any).validate_python(example)
                taken += 1
                if route.name == "send_mails":
                    assert [MailRequest.model_validate(mail).request_id for mail in example["mails"]]
    assert taken > 5


@both
def test_each_parameter_is_described_and_its_example_is_valid(document: Document) -> None:
    for operation in _operations(document):
        for parameter in operation.get("parameters", []):
            where = f"{operation['operationId']}.{parameter['name']}"
            assert parameter.get("description"), where
            if "example" in parameter:
                assert _faults(parameter["example"], parameter["schema"], document) == [], where


@both
def test_each_property_is_described(document: Document) -> None:
    properties = [
        (f"{name}.{prop}", described)
        for name, schema in document["components"]["schemas"].items()
        for prop, described in schema.get("properties", {}).items()
    ]
    assert len(properties) > 250
    assert [where for where, described in properties if not described.get("description")] == []


@both
def test_each_link_leads_to_a_call_that_takes_it(document: Document) -> None:
    operations = {operation["operationId"]: operation for operation in _operations(document)}
    links = 0
    for operation in operations.values():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                target = operations[link["operationId"]]
                names = {parameter["name"] for parameter in target.get("parameters", [])}
                assert set(link.get("parameters", {})) <= names, link
                required = {
                    parameter["name"] for parameter in target.get("parameters", []) if parameter.get("required")
                }
                assert required <= set(link.get("parameters", {})), link
                assert "requestBody" not in link or "requestBody" in target, link
                links += 1
    assert links > 50


@both
def test_each_link_finds_its_value_in_an_example(document: Document) -> None:
    for operation in _operations(document):
        bodies = [
            example
            for content in operation.get("requestBody", {}).get("content", {}).values()
            for example in _examples(content, document)
        ]
        for status, answer in operation["responses"].items():
            answers = _examples(answer.get("content", {}).get("application/json", {}), document)
            for link in answer.get("links", {}).values():
                for expression in (*link.get("parameters", {}).values(), *link.get("requestBody", {}).values()):
                    where = f"{operation['operationId']} {status}: {expression}"
                    source, _, pointer = str(expression).partition("#")
                    if source in {"$response.body", "$request.body"}:
                        among = answers if source == "$response.body" else bodies
                        assert any(_at(example, pointer) is not None for example in among), where
                    elif source.startswith("$request.path."):
                        names = {parameter["name"] for parameter in operation["parameters"]}
                        assert source.removeprefix("$request.path.") in names, where
                    else:
                        assert not source.startswith("$"), where


def _at(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


@both
def test_each_refusal_names_the_problems_and_shows_one_of_each(document: Document) -> None:
    slugs = {kind.slug for kind in kinds()}
    for operation in _operations(document):
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get(MEDIA_TYPE)
            if content is not None:
                assert set(content["examples"]) <= slugs
                for slug, example in zip(content["examples"], _examples(content, document), strict=True):
                    assert f"`{slug}`" in answer["description"]
                    assert (example["type"], example["status"]) == (f"/problems/{slug}", int(status))


@both
def test_a_call_that_takes_a_key_or_json_can_refuse_them(document: Document) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            answers = set(operation["responses"])
            if operation["security"]:
                assert answers >= {"401"}, operation["operationId"]
                assert ("x-scopes" in operation) <= ("403" in answers), operation["operationId"]
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                assert answers >= {"415", "422"}, operation["operationId"]


@both
def test_each_call_has_one_tag_and_each_tag_is_explained(document: Document) -> None:
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    used = [operation["tags"] for operation in _operations(document)]
    assert {len(each) for each in used} == {1}
    assert {tag for each in used for tag in each} == set(tags)
    assert all(tags.values())


@both
def test_the_document_says_whose_it_is_and_where_the_service_is(document: Document) -> None:
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["info"]["contact"]["name"]
    assert document["servers"][0]["url"] == "/"
    assert all("security" in operation for operation in _operations(document))


@pytest.mark.parametrize("service", ["mail", "signup"])
def test_each_event_that_can_be_subscribed_is_a_webhook(service: str) -> None:
    document = DOCUMENTS[service]
    subscribable = document["components"]["schemas"]["NewSubscriber"]["properties"]["events"]["items"]["enum"]
    assert set(document["webhooks"]) == set(subscribable)
    for name, webhook in document["webhooks"].items():
        content = webhook["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["type"] == name
        schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        assert set(schema["properties"]["type"]["enum"]) == set(subscribable)


@pytest.mark.parametrize("key", ["metadata.user_id", "metadata.Order-No 7", "metadata.plan"])
def test_the_filter_by_metadata_takes_any_key(key: str) -> None:
    parameters = DOCUMENTS["mail"]["paths"]["/v1/mails"]["get"]["parameters"]
    schema = next(parameter["schema"] for parameter in parameters if parameter["name"] == "metadata")
    assert _faults({key: "x"}, schema, DOCUMENTS["mail"]) == []
    assert _faults({"plan": "x"}, schema, DOCUMENTS["mail"]) != []


@pytest.mark.parametrize(("service", "teaching"), [("mail", teach_mail()), ("signup", teach_signup())])
def test_each_text_and_example_has_its_place(service: str, teaching: Teaching) -> None:
    document = DOCUMENTS[service]
    operations = {operation["operationId"]: operation for operation in _operations(document)}
    named = {
        f"{prefix}{parameter['name']}"
        for name, operation in operations.items()
        for parameter in operation.get("parameters", [])
        for prefix in ("", f"{name}.")
    }
    assert set(teaching.parameters) - named == set()
    places = {name.partition(" ")[0] for name in (*teaching.examples, *teaching.links)}
    assert places - operations.keys() - document["components"]["schemas"].keys() == set()


def test_both_documents_tell_one_story() -> None:
    """The IDs that one document's examples share with the other's."""
    found = {
        service: set(re.findall(r"019f03[0-9a-f]{2}-[0-9a-f-]{27}", repr(document)))
        for service, document in DOCUMENTS.items()
    }
    assert len(found["mail"] & found["signup"]) >= 3
