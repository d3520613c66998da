"""What operators ask of signup: the endpoints both services have, with signup's own health and history."""

from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from shared.operations import operations_router

from ..tables import history
from .health import checks


def router(registry: CollectorRegistry) -> APIRouter:
    return operations_router(service="signup", history=history, registry=registry, checks=checks)
