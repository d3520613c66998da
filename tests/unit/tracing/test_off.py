"""Tracing costs nothing unless it is turned on."""

import os
import subprocess
import sys

import pytest

from tests.support.databases import ROOT

# Builds a process as far as that works without a database, in one environment after the other.
CODE = """
import asyncio, os, sys
from services.{service} import worker
from services.{service}.app import create_app
from services.{service}.settings import Settings
from shared.observability.tracing import tracing_of
for environment in {environments}:
    os.environ.update(environment)
    settings = Settings({settings})
    app = create_app(settings)
    asyncio.run(tracing_of(settings.traces_endpoint, "worker").close())
    sdk = ("opentelemetry.sdk", "opentelemetry.exporter", "requests")
    print(*(name for name in sys.modules if name.startswith(sdk)))
    print(*(layer.cls.__name__ for layer in app.user_middleware))
"""
SETTINGS = {"signup": "signup_token_keys='k' * 32", "mail": ""}
OFF = [
    {},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"},
]
ON = [{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}]


def _modules_and_middleware(service: str, environments: list[dict[str, str]]) -> list[tuple[str, list[str]]]:
    """For each environment."""
    code = CODE.format(service=service, settings=SETTINGS[service], environments=environments)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=inherited, check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    return [(modules, middleware.split()) for modules, middleware in zip(lines[::2], lines[1::2], strict=True)]


@pytest.mark.parametrize("service", ["signup", "mail"])
def test_without_a_collector_neither_the_sdk_nor_the_tracing_middleware_is_loaded(service: str) -> None:
    """Not when the endpoint is unset or empty, nor when the SDK is disabled."""
    loaded = _modules_and_middleware(service, OFF)
    assert len(loaded) == len(OFF)
    for modules, middleware in loaded:
        assert modules == ""
        assert "RequestSpans" not in middleware


@pytest.mark.parametrize("service", ["signup", "mail"])
def test_with_a_collector_both_are_loaded(service: str) -> None:
    ((modules, middleware),) = _modules_and_middleware(service, ON)
    assert "opentelemetry.sdk.trace" in modules
    assert middleware[0] == "RequestSpans", "the outermost: its span covers the whole request"
