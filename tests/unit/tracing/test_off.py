"""Tracing costs nothing unless it is turned on."""

import os
import subprocess
import sys

import pytest

from tests.support.databases import ROOT

# Builds a process as far as that works without a database.
CODE = """
import asyncio, sys
from services.{service} import worker
from services.{service}.app import create_app
from services.{service}.settings import Settings
from shared.observability.tracing import tracing_of
settings = Settings({settings})
app = create_app(settings)
asyncio.run(tracing_of(settings.traces_endpoint, "worker").close())
print(*(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "requests"))))
print(*(layer.cls.__name__ for layer in app.user_middleware))
"""
SETTINGS = {"signup": "signup_token_keys='k' * 32", "mail": ""}


def _modules_and_middleware(service: str, **environment: str) -> tuple[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    code = CODE.format(service=service, settings=SETTINGS[service])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=inherited | environment, check=True, capture_output=True, text=True
    )
    modules, middleware, *_ = done.stdout.split("\n")
    return modules, middleware


@pytest.mark.parametrize("service", ["signup", "mail"])
@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}],
    ids=["unset", "empty", "disabled"],
)
def test_without_a_collector_neither_the_sdk_nor_the_tracing_middleware_is_loaded(
    service: str, environment: dict[str, str]
) -> None:
    modules, middleware = _modules_and_middleware(service, **environment)
    assert modules == ""
    assert "RequestSpans" not in middleware.split()


@pytest.mark.parametrize("service", ["signup", "mail"])
def test_with_a_collector_both_are_loaded(service: str) -> None:
    modules, middleware = _modules_and_middleware(service, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert "opentelemetry.sdk.trace" in modules
    assert middleware.split()[0] == "RequestSpans", "the outermost: its span covers the whole request"
