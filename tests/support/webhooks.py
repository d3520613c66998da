"""Subscribers of either service, made through its API."""

from typing import Any

import httpx


async def subscribe(client: httpx.AsyncClient, url: str, *events: str) -> dict[str, Any]:
    answer = await client.post("/v1/webhooks", json={"url": url, "events": events})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def deliveries(client: httpx.AsyncClient, subscriber_id: str, **filters: Any) -> list[dict[str, Any]]:
    """One page of the log."""
    answer = await client.get(f"/v1/webhooks/{subscriber_id}/deliveries", params=filters)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def replay(client: httpx.AsyncClient, subscriber_id: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/webhooks/{subscriber_id}/replay", json=body)
    assert answer.status_code == 202, answer.text
    replayed: dict[str, Any] = answer.json()
    return replayed
