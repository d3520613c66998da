"""A name server on loopback, with a zone of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

# In the place of records.
SILENT, BROKEN = "SILENT", "BROKEN"


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """`zone`: records by name and type, like `{"_dmarc.shop.net TXT": ["v=DMARC1; p=none"]}`; "*": for all others."""

    zone: Mapping[str, list[str]]
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # it is UDP
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dns.message.from_wire(data).question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        records = self.zone.get(f"{name} {kind}", self.zone.get("*", []))
        if SILENT in records:
            return
        reply = dns.message.make_response(dns.message.from_wire(data))
        reply.flags |= dns.flags.AA | dns.flags.RA
        if BROKEN in records:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            texts = [f'"{text[:255]}" "{text[255:]}"' if kind == "TXT" else text for text in records]
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *texts))
        elif not any(f".{key.split()[0]}".endswith(f".{name}") for key in self.zone):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(reply.to_wire(), addr)


@asynccontextmanager
async def name_server(zone: Mapping[str, list[str]]) -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
