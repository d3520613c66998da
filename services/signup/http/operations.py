"""The operator endpoints that both services have, with signup's health checks and history."""

from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from shared.http.operations_routes import Collect, operations_router

from ..tables import history
from .health import checks


def router(registry: CollectorRegistry, collect: Collect) -> APIRouter:
    return operations_router(service="signup", history=history, registry=registry, checks=checks, collect=collect)
