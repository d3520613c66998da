"""Incident 11: request IDs clash."""

import asyncpg
import httpx

from shared.db import api_keys
from tests.support.stack import Ledgers, eventually


async def _another_client(ledgers: Ledgers) -> httpx.AsyncClient:
    key = api_keys.mint()
    connection = await asyncpg.connect(ledgers.stack.owner_url("mail"))
    await api_keys.store(
        connection, key, client="billing", scopes=["mails:send", "mails:read"], days=None, actor="test"
    )
    await connection.close()
    return httpx.AsyncClient(
        base_url=ledgers.stack.mail_url, headers={"Authorization": f"Bearer {key.text}"}, timeout=30
    )


async def test_the_same_id_of_two_clients_is_two_mails(ledgers: Ledgers) -> None:
    request = {"request_id": "story11", "to": {"email": "story11@x.example"}, "subject": "S", "text": "T"}
    async with await _another_client(ledgers) as billing:
        first = (await ledgers.mail.post("/v1/mails", json=request)).json()
        second = (await billing.post("/v1/mails", json=request | {"subject": "Invoice"})).json()
        assert first["id"] != second["id"]
        await eventually(lambda: ledgers.caught("story11@x.example"), lambda found: len(found) == 2)
        assert (await billing.get(f"/v1/mails/{first['id']}")).status_code == 404


async def test_another_payload_under_a_known_id_is_refused_naming_what_differs(ledgers: Ledgers) -> None:
    request = {
        "request_id": "story11-reused",
        "to": {"email": "story11-a@x.example", "name": "A"},
        "template": "welcome",
        "variables": {"name": "A"},
    }
    assert (await ledgers.mail.post("/v1/mails", json=request)).status_code == 202
    changed = request | {"to": {"email": "story11-b@x.example", "name": "A"}, "variables": {"name": "B"}}
    refused = await ledgers.mail.post("/v1/mails", json=changed)
    assert refused.status_code == 422
    assert refused.json()["type"] == "/problems/request-id-reused"
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/to/email", "/variables/name"]
    await eventually(lambda: ledgers.caught("story11-a@x.example"), lambda found: len(found) == 1)
    assert await ledgers.caught("story11-b@x.example") == []
