"""A stand-in for Amazon SES and SNS: a key, its certificate at Amazon's address, and signed messages."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from services.mail.provider_events.sns import signed_text
from services.mail.provider_events.sns_certificates import FetchError

from . import Call

TOPIC = "arn:aws:sns:eu-central-1:123456789012:mail-events"
CERTIFICATE_URL = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
SUBSCRIBE_URL = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=x&Token=y"
SIGNED = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")


def certificate(
    key: rsa.RSAPrivateKey, name: str = "sns.amazonaws.com", *, began: timedelta = timedelta(days=-1)
) -> bytes:
    """A self-signed certificate for `name`, which is valid for two days."""
    names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(names)
        .issuer_name(names)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + began)
        .not_valid_after(now + began + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


class Amazon:
    """`served` is what its hosts answer, by URL; `fetched` what was asked for."""

    name = "ses"
    setting = f"ses=arn:aws:sns:us-east-1:123456789012:other|{TOPIC}"

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.served = {CERTIFICATE_URL: certificate(self.key), SUBSCRIBE_URL: b"<ConfirmSubscriptionResponse/>"}
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if url not in self.served:
            raise FetchError("answered 403")
        return self.served[url]

    def call(self, events: list[dict[str, Any]], at: datetime) -> Call:
        (event,) = events
        return self.notification(json.dumps(event), at)

    def notification(self, message: str, at: datetime, **changes: str) -> Call:
        fields = {"Type": "Notification", "Message": message, "Subject": "Amazon SES Email Event Notification"}
        return self.signed(fields | {"TopicArn": TOPIC} | changes, at)

    def confirmation(self, at: datetime, **changes: str) -> Call:
        fields = {"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe.", "TopicArn": TOPIC}
        return self.signed(fields | {"Token": "2336412f37", "SubscribeURL": SUBSCRIBE_URL} | changes, at)

    def signed(self, fields: dict[str, str], at: datetime) -> Call:
        content = {
            "MessageId": str(uuid4()),
            "Timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "SignatureVersion": "2",
            "SigningCertURL": CERTIFICATE_URL,
        } | fields
        text = signed_text({name: content[name] for name in SIGNED if name in content})
        algorithm = hashes.SHA1() if content["SignatureVersion"] == "1" else hashes.SHA256()  # noqa: S303 - Amazon's default
        signature = self.key.sign(text, padding.PKCS1v15(), algorithm)
        content["Signature"] = base64.b64encode(signature).decode()
        headers = {"content-type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": content["Type"]}
        return Call(headers, json.dumps(content).encode())

    def forged(self, call: Call) -> Call:
        content = json.loads(call.body)
        content["Message"] = content["Message"].replace("asa@", "bo@") + " "
        return replace(call, body=json.dumps(content).encode())
