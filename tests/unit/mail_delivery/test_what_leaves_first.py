"""The order on the wire: no byte of a body leaves before the record of its transmission is committed."""

import asyncio

import pytest

from services.mail.delivery.gateways.protocol import Envelope
from services.mail.delivery.gateways.smtp_connection import SmtpConnection, Timeouts
from services.mail.delivery.gateways.smtp_conversation import SmtpConversation
from services.mail.delivery.smtp_outcomes import Outcome

ENVELOPE, BODY = Envelope("a@example.test", "b@example.test"), b"Subject: Hi\r\n\r\nHello\r\n"


class Wire(asyncio.WriteTransport):
    """Keeps what is written, and answers each write as a gateway that accepts everything."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        reply = b"354 go on\r\n" if data == b"DATA\r\n" else b"250 2.0.0 ok\r\n"
        asyncio.get_running_loop().call_soon(self._protocol.data_received, reply)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        """Nothing to close."""


@pytest.mark.promise("P8")
@pytest.mark.parametrize(("recorded", "outcome"), [(True, Outcome.ACCEPTED), (False, Outcome.GATEWAY_FAULT)])
async def test_the_record_comes_before_the_body_and_without_it_none_leaves(recorded: bool, outcome: Outcome) -> None:
    wire, written_before = Wire(), list[bytes]()

    async def about_to_transmit() -> bool:
        written_before.append(wire.written)
        return recorded

    connection = SmtpConnection(SmtpConversation(wire), {}, Timeouts())
    assert (await connection.transact(ENVELOPE, BODY, about_to_transmit)).outcome is outcome
    assert [written.endswith(b"DATA\r\n") for written in written_before] == [True]
    assert wire.written == written_before[0] + (BODY + b".\r\n" if recorded else b"")
