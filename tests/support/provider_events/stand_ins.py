"""The stand-ins of all providers but Amazon: secrets of their own, and signatures as their documentation describes."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from . import Call, Provider
from .amazon import Amazon

JSON = {"content-type": "application/json"}


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


class Postmark:
    name = "postmark"
    setting = "postmark=a%2Csecret%7Cwith=signs"

    def call(self, events: list[dict[str, Any]], _at: datetime) -> Call:
        (event,) = events
        credentials = base64.b64encode(b"postmark:a,secret|with=signs").decode()
        return Call(JSON | {"authorization": f"Basic {credentials}"}, _dumped(event))

    def forged(self, call: Call) -> Call:
        return replace(call, headers=JSON | {"authorization": "Basic " + base64.b64encode(b"postmark:guess").decode()})


class Brevo:
    name = "brevo"
    setting = "brevo=old-secret|new-secret"

    def call(self, events: list[dict[str, Any]], _at: datetime) -> Call:
        body = events[0] if len(events) == 1 else events
        return Call(JSON | {"authorization": "Bearer new-secret"}, _dumped(body))

    def forged(self, call: Call) -> Call:
        return replace(call, headers=JSON | {"authorization": "Bearer new-secre"})


class Mailgun:
    name = "mailgun"
    setting = "mailgun=key-of-mailgun"
    key = b"key-of-mailgun"

    def call(self, events: list[dict[str, Any]], at: datetime) -> Call:
        (event,) = events
        return self.signed(event, str(int(at.timestamp())), uuid4().hex + uuid4().hex[:18])

    def signed(self, event: dict[str, Any], timestamp: str, token: str) -> Call:
        signature = hmac.new(self.key, (timestamp + token).encode(), hashlib.sha256).hexdigest()
        signed = {"timestamp": timestamp, "token": token, "signature": signature}
        return Call(JSON, _dumped({"signature": signed, "event-data": event}))

    def forged(self, call: Call) -> Call:
        content = json.loads(call.body)
        content["signature"]["token"] = content["signature"]["token"][::-1]
        return replace(call, body=_dumped(content))


class SendGrid:
    name = "sendgrid"

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.setting = f"sendgrid={base64.b64encode(public).decode()}"

    def call(self, events: list[dict[str, Any]], at: datetime) -> Call:
        return self.signed(_dumped(events) + b"\r\n", str(int(at.timestamp())))

    def signed(self, body: bytes, timestamp: str) -> Call:
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
            "x-twilio-email-event-webhook-timestamp": timestamp,
        }
        return Call(JSON | headers, body)

    def forged(self, call: Call) -> Call:
        return replace(call, body=call.body.replace(b"asa@", b"bo@"))


class Resend:
    name = "resend"
    secret = "whsec_" + base64.b64encode(b"key of resend").decode()
    setting = f"resend={secret}"

    def call(self, events: list[dict[str, Any]], at: datetime) -> Call:
        (event,) = events
        body, call_id = _dumped(event), f"msg_{uuid4().hex}"
        headers = {
            "svix-id": call_id,
            "svix-timestamp": str(int(at.timestamp())),
            "svix-signature": "v1,AAAA " + Webhook(self.secret).sign(call_id, at, body.decode()),
        }
        return Call(JSON | headers, body)

    def forged(self, call: Call) -> Call:
        return replace(call, headers=call.headers | {"svix-id": "msg_other"})


@cache
def providers() -> dict[str, Provider]:
    """One of each. The keys are made once in a run."""
    found: list[Provider] = [Amazon(), Postmark(), Mailgun(), SendGrid(), Resend(), Brevo()]
    return {provider.name: provider for provider in found}
