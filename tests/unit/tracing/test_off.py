"""Tracing that nobody asked for costs nothing."""

import os
import subprocess
import sys

import pytest

from tests.support.databases import ROOT

# What a process is made of, put together as far as that goes without a database.
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
print(*(ring.cls.__name__ for ring in app.user_middleware))
"""
SETTINGS = {"signup": "signup_token_keys='k' * 32", "mail": ""}


def _modules_and_rings(service: str, **environment: str) -> tuple[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    code = CODE.format(service=service, settings=SETTINGS[service])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=inherited | environment, check=True, capture_output=True, text=True
    )
    modules, rings, *_ = done.stdout.split("\n")
    return modules, rings


@pytest.mark.parametrize("service", ["signup", "mail"])
@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}],
    ids=["unset", "empty", "disabled"],
)
def test_without_a_collector_nothing_of_the_sdk_is_imported_and_no_ring_is_put_around_the_api(
    service: str, environment: dict[str, str]
) -> None:
    modules, rings = _modules_and_rings(service, **environment)
    assert modules == ""
    assert "RequestSpans" not in rings.split()


@pytest.mark.parametrize("service", ["signup", "mail"])
def test_with_a_collector_both_are_there(service: str) -> None:
    modules, rings = _modules_and_rings(service, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert "opentelemetry.sdk.trace" in modules
    assert rings.split()[0] == "RequestSpans", "the outermost: all of a request is in its span"
