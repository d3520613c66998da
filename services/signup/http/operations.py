"""The operator endpoints that both services have, with signup's health checks and history."""

from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from shared.http.operations_routes import Collect, operations_router

from .health import checks


def router(registry: CollectorRegistry, collect: Collect) -> APIRouter:
    return operations_router(service="signup", registry=registry, checks=checks, collect=collect)
