"""Connections to a gateway: reuse, replacement, TLS, login."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from services.mail.delivery.gateways import connection_pool as pool_module
from services.mail.delivery.gateways.protocol import Envelope
from services.mail.delivery.gateways.settings import GatewaySettings, Tls, parse_gateways
from services.mail.delivery.gateways.smtp_connection import Timeouts
from services.mail.delivery.gateways.smtp_gateway import SmtpGateway
from services.mail.delivery.smtp_outcomes import Outcome, Verdict
from tests.support.delivery import IMPATIENT, PATIENT, smtp_gateway
from tests.support.listener import listening
from tests.support.scripted_smtp import Misbehavior, scripted_smtp


async def agree() -> bool:
    await asyncio.sleep(0)
    return True


ENVELOPE = Envelope("a@example.test", "b@example.test")


async def send(gateway: SmtpGateway) -> Verdict:
    return await gateway.send(Envelope("a@example.test", "b@example.test"), lambda: b"Subject: x\r\n\r\nx\r\n", agree)


async def test_a_connection_is_reused_without_a_command_in_between() -> None:
    async with scripted_smtp() as server:
        gateway = smtp_gateway(server.port)
        for _ in range(3):
            assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert server.connections == 1
    assert [command.split()[0] for command in server.commands] == ["EHLO", *["MAIL", "RCPT", "DATA"] * 3, "QUIT"]


async def test_after_a_refusal_the_connection_is_reset_before_it_is_used_again() -> None:
    async with scripted_smtp({"RCPT": ["550 5.1.1 no"]}) as server:
        gateway = smtp_gateway(server.port)
        assert (await send(gateway)).outcome is Outcome.REFUSED
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert server.connections == 1
    assert server.commands[3] == "RSET"


async def test_a_pipelining_gateway_gets_the_whole_envelope_before_it_replies() -> None:
    async with scripted_smtp(extensions=("PIPELINING",)) as server:
        gateway = smtp_gateway(server.port)
        for _ in range(3):
            assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert server.connections == 1
    assert server.most_waiting == len(["RCPT", "DATA"])


@pytest.mark.parametrize("step", ["MAIL", "RCPT"])
async def test_a_refusal_in_a_pipeline_leaves_the_connection_in_step(step: str) -> None:
    async with scripted_smtp({step: ["550 5.1.1 no"]}, extensions=("PIPELINING",)) as server:
        gateway = smtp_gateway(server.port)
        verdict = await send(gateway)
        assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, 550)
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert server.connections == 1
    assert [command.split()[0] for command in server.commands[4:]] == ["RSET", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_a_gateway_that_asks_for_the_body_of_a_refused_mail_gets_none() -> None:
    script = {"RCPT": ["550 5.1.1 no"], "DATA": ["354 all the same"]}
    async with scripted_smtp(script, extensions=("PIPELINING",)) as server:
        gateway = smtp_gateway(server.port)
        assert (await send(gateway)).outcome is Outcome.REFUSED
        assert not gateway._pool._idle
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert server.connections == 2
    assert len(server.received) == 1


async def test_an_unrequested_reply_on_an_idle_connection_is_not_read_as_the_next_one() -> None:
    async with scripted_smtp() as server:
        gateway = smtp_gateway(server.port)
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        (writer,) = server.writers
        (connection,) = gateway._pool._idle
        writer.write(b"421 4.4.2 you have been idle for too long\r\n")
        async with asyncio.timeout(PATIENT.reply_seconds):
            while connection.is_open:  # noqa: ASYNC110 - no event marks the arrival
                await asyncio.sleep(0)
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert server.connections == 2


@pytest.mark.parametrize("line", ["250 and so on", "250 "])
async def test_an_endless_reply_is_a_gateway_fault(line: str) -> None:
    async with scripted_smtp({"RCPT": ["\n".join([line] * 20_000)]}) as server:
        verdict = await send(smtp_gateway(server.port))
    assert verdict.outcome is Outcome.GATEWAY_FAULT


async def test_bytes_that_have_not_left_at_the_verdict_never_leave() -> None:
    may_read, ended = asyncio.Event(), asyncio.Event()
    bytes_read = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal bytes_read
        writer.write(b"220 slow\r\n")
        for reply in (b"250 slow\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await may_read.wait()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                bytes_read += len(data)
        ended.set()

    body = b"x" * 64_000_000  # more than any socket buffers
    timeouts = Timeouts(command_seconds=20, reply_seconds=1)
    async with listening(serve) as port:
        verdict = await smtp_gateway(port, timeouts=timeouts).send(ENVELOPE, lambda: body, agree)
        may_read.set()
        await ended.wait()
    assert (verdict.outcome, bytes_read < len(body)) == (Outcome.UNKNOWN, True)


@pytest.mark.promise("P5")
async def test_a_250_before_the_whole_mail_has_left_is_unknown() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hasty\r\n")
        for reply in (b"250 hasty\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await reader.readexactly(1)
        writer.write(b"250 whatever it is\r\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await reader.read(0)
            await gone.wait()

    gone = asyncio.Event()
    async with listening(serve) as port:
        verdict = await smtp_gateway(port).send(ENVELOPE, lambda: b"x" * 64_000_000, agree)
        gone.set()
    assert verdict.outcome is Outcome.UNKNOWN


def _on_uvloop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run as in production."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


@pytest.mark.parametrize("tls", list(Tls))
@pytest.mark.parametrize("pipelining", [(), ("PIPELINING",)], ids=["one by one", "pipelined"])
def test_the_conversation_is_taken_over_on_every_kind_of_connection(
    tls: Tls, pipelining: tuple[str, ...], certificate: Path
) -> None:
    async def work() -> None:
        client_tls = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        extensions = (*(("STARTTLS",) if tls is Tls.STARTTLS else ()), *pipelining)
        secure = None if tls is Tls.NONE else server_tls(certificate)
        async with scripted_smtp(
            {"dot": [None, "421 enough"]}, extensions=extensions, tls=secure, implicit_tls=tls is Tls.IMPLICIT
        ) as server:

            async def say_250_before_421() -> None:
                # 421 follows at once, and the client has to close.
                if len(server.received) == len(["first", "second"]):
                    (writer,) = server.writers
                    writer.write(b"250 taken\r\n")
                await asyncio.sleep(0)

            server.before_dot_reply = say_250_before_421
            gateway = SmtpGateway(
                GatewaySettings("x", "127.0.0.1", server.port, tls), PATIENT, "worker.example", tls_context=client_tls
            )
            for lines in (1, 50_000, 1):
                text = b"Subject: x\r\n\r\n" + b"x" * 18 * lines + b"\r\n"
                text = text.replace(b"x" * 18, b"x" * 16 + b"\r\n")

                def body(text: bytes = text) -> bytes:
                    return text

                assert (await gateway.send(ENVELOPE, body, agree)).outcome is Outcome.ACCEPTED
            await gateway.close()
        assert [len(mail.data) for mail in server.received] == [34, 900_016, 34]
        assert server.connections == 2

    _on_uvloop(work)


@pytest.mark.parametrize(
    "act", ["421 4.3.2 closing", "500 what", Misbehavior.DROP, Misbehavior.HANG, Misbehavior.GARBAGE]
)
async def test_a_connection_that_fails_at_rset_is_replaced_without_a_fault(act: str | Misbehavior) -> None:
    async with scripted_smtp({"RCPT": ["550 5.1.1 no"], "RSET": [act]}) as server:
        gateway = smtp_gateway(server.port, timeouts=IMPATIENT if act is Misbehavior.HANG else PATIENT)
        await send(gateway)
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert server.connections == 2


@pytest.mark.parametrize("act", [None, "421 4.4.2 timeout", Misbehavior.DROP])
async def test_an_idle_connection_is_probed_before_it_is_used(
    act: str | Misbehavior | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_PROBE_AFTER_IDLE_SECONDS", 0.0)
    async with scripted_smtp({"NOOP": [act]}) as server:
        gateway = smtp_gateway(server.port)
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert "NOOP" in server.commands
    assert server.connections == (1 if act is None else 2)


@pytest.mark.parametrize("act", ["421 4.7.0 too many mails on this connection", Misbehavior.DROP])
async def test_a_rejected_mail_command_on_a_reused_connection_is_no_gateway_fault(act: str | Misbehavior) -> None:
    async with scripted_smtp({"MAIL": [None, act]}) as server:
        gateway = smtp_gateway(server.port)
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert server.connections == 2


async def test_a_connection_is_closed_with_quit_after_its_limit_of_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_TRANSACTIONS_PER_CONNECTION", 2)
    async with scripted_smtp() as server:
        gateway = smtp_gateway(server.port)
        for _ in range(4):
            await send(gateway)
        await gateway.close()
    assert server.connections == 2
    assert server.commands.count("QUIT") == 2


async def test_a_connection_that_is_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_CLOSE_AFTER_IDLE_SECONDS", -1.0)
    async with scripted_smtp() as server:
        gateway = smtp_gateway(server.port)
        await send(gateway)
        await gateway.close_idle()
        await gateway.close()
    assert server.commands[-1] == "QUIT"


async def test_the_body_leaves_only_after_it_is_on_record() -> None:
    recorded = asyncio.Event()
    asked = asyncio.Event()

    async def about_to_transmit() -> bool:
        asked.set()
        await recorded.wait()
        assert not server.received
        return True

    async with scripted_smtp() as server:
        gateway = smtp_gateway(server.port)
        sending = asyncio.create_task(
            gateway.send(Envelope("a@example.test", "b@example.test"), lambda: b"x\r\n", about_to_transmit)
        )
        await asked.wait()
        assert server.commands[-1] == "DATA"
        recorded.set()
        assert (await sending).outcome is Outcome.ACCEPTED
        await gateway.close()


async def test_nothing_leaves_when_the_record_fails() -> None:
    async def about_to_transmit() -> bool:
        raise RuntimeError("no database")

    async with scripted_smtp() as server:
        gateway = smtp_gateway(server.port)
        with pytest.raises(RuntimeError):
            await gateway.send(Envelope("a@example.test", "b@example.test"), lambda: b"x\r\n", about_to_transmit)
        await gateway.close()
    assert server.commands[-1] == "DATA"
    assert not server.received


@pytest.mark.parametrize("address", ["b@example.test> NOTIFY=NEVER", "b c@example.test", "b@example.test\r\nRSET"])
async def test_an_address_cannot_inject_parameters_or_commands(address: str) -> None:
    async with scripted_smtp() as server:
        gateway = smtp_gateway(server.port)
        verdict = await gateway.send(Envelope("a@example.test", address), lambda: b"x\r\n", agree)
        await gateway.close()
    assert verdict.outcome is Outcome.REFUSED
    assert not any(command.startswith("MAIL") for command in server.commands)


async def test_the_gateways_own_sender_is_used_in_the_envelope() -> None:
    async with scripted_smtp() as server:
        settings = GatewaySettings("x", "127.0.0.1", server.port, Tls.NONE, sender="bounces@example.test")
        gateway = SmtpGateway(settings, PATIENT, "worker.example")
        await send(gateway)
        await gateway.close()
    assert server.accepted[0].sender == "bounces@example.test"
    assert server.commands[0] == "EHLO worker.example"


async def test_a_refused_login_is_the_gateways_fault() -> None:
    async with scripted_smtp({"AUTH": "535 5.7.8 no"}, extensions=("AUTH PLAIN",)) as server:
        settings = GatewaySettings("x", "127.0.0.1", server.port, Tls.NONE, username="u", password="p")
        verdict = await send(SmtpGateway(settings, PATIENT, "worker.example"))
    assert (verdict.outcome, verdict.code) == (Outcome.GATEWAY_FAULT, 535)


async def test_a_login_comes_before_the_mail() -> None:
    async with scripted_smtp(extensions=("AUTH PLAIN",)) as server:
        settings = GatewaySettings("x", "127.0.0.1", server.port, Tls.NONE, username="u", password="p")
        gateway = SmtpGateway(settings, PATIENT, "worker.example")
        assert (await send(gateway)).outcome is Outcome.ACCEPTED
        await gateway.close()
    assert [command.split()[0] for command in server.commands][:3] == ["EHLO", "AUTH", "MAIL"]


async def test_a_gateway_without_starttls_gets_no_mail_where_it_is_required() -> None:
    async with scripted_smtp() as server:
        verdict = await send(smtp_gateway(server.port, tls=Tls.STARTTLS))
    assert verdict.outcome is Outcome.GATEWAY_FAULT
    assert "STARTTLS" in verdict.reason
    assert [command.split()[0] for command in server.commands] == ["EHLO"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_verified(tls: Tls, trusted: bool, certificate: Path) -> None:
    client_tls = ssl.create_default_context(cafile=str(certificate / "cert.pem") if trusted else None)
    async with scripted_smtp(
        extensions=("STARTTLS",), tls=server_tls(certificate), implicit_tls=tls is Tls.IMPLICIT
    ) as server:
        settings = GatewaySettings("x", "127.0.0.1", server.port, tls)
        gateway = SmtpGateway(settings, PATIENT, "worker.example", tls_context=client_tls)
        verdict = await send(gateway)
        await gateway.close()
    assert verdict.outcome is (Outcome.ACCEPTED if trusted else Outcome.GATEWAY_FAULT)
    assert len(server.accepted) == trusted
    if not trusted:
        assert "TLS" in verdict.reason


@pytest.mark.parametrize("way", ["ca=", "SSL_CERT_FILE", "neither"])
async def test_a_private_ca_is_trusted_by_the_gateways_file_and_by_ssl_cert_file(
    way: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate / "cert.pem"
    if way == "SSL_CERT_FILE":
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with scripted_smtp(tls=server_tls(certificate), implicit_tls=True) as server:
        (settings,) = parse_gateways(f"smtps://127.0.0.1:{server.port}" + (f"?ca={file}" if way == "ca=" else ""))
        gateway = SmtpGateway(settings, PATIENT, "worker.example")
        verdict = await send(gateway)
        await gateway.close()
    assert verdict.outcome is (Outcome.GATEWAY_FAULT if way == "neither" else Outcome.ACCEPTED)
    if way == "neither":
        assert verdict.reason == "TLS failed (SSLCertVerificationError: self-signed certificate) at connect"


async def test_an_unreachable_gateway_is_a_fault_that_says_so() -> None:
    async with scripted_smtp() as server:
        port = server.port
    verdict = await send(smtp_gateway(port))
    assert (verdict.outcome, verdict.blames_gateway) == (Outcome.GATEWAY_FAULT, True)
    assert "ConnectionRefusedError" in verdict.reason
