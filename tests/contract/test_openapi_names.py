"""What clients generated from the OpenAPI documents are called."""

import re
from collections import Counter

import pytest
from fastapi import FastAPI

from services.mail.app import create_app as mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app as signup_app
from services.signup.settings import Settings as SignupSettings

APPS = [mail_app(MailSettings()), signup_app(SignupSettings(signup_token_keys="k" * 32))]


@pytest.mark.parametrize("app", APPS, ids=["mail", "signup"])
def test_each_operation_has_a_name_of_its_own_that_says_what_it_does(app: FastAPI) -> None:
    operations = [operation for path in app.openapi()["paths"].values() for operation in path.values()]
    names = Counter(operation["operationId"] for operation in operations)
    assert max(names.values()) == 1
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []


@pytest.mark.parametrize("app", APPS, ids=["mail", "signup"])
def test_no_two_schemas_share_a_title_or_carry_the_name_of_a_module(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    titles = Counter(schema.get("title", name) for name, schema in schemas.items())
    assert [title for title, count in titles.items() if count > 1] == []
    assert [name for name in schemas if "__" in name] == []


@pytest.mark.parametrize("app", APPS, ids=["mail", "signup"])
def test_every_problem_is_described_by_the_same_schema(app: FastAPI) -> None:
    assert "ProblemDocument" in app.openapi()["components"]["schemas"]
    for path in app.openapi()["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and "application/problem+json" in answer.get("content", {}):
                    schema = answer["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ProblemDocument"}
