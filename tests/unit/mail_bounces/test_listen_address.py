"""MAIL_BOUNCE_LISTEN names an address, or the process says what is wrong with it and does not start."""

import socket
from pathlib import Path

import pytest

from services.mail.app import create_app
from services.mail.bounces.listen_address import ListenAddress, open_socket, parse_listen_address
from services.mail.command_line import main
from services.mail.settings import Settings
from shared.contract.configuration import ConfigurationError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:2003", ListenAddress("127.0.0.1", 2003)),
        ("localhost:24", ListenAddress("localhost", 24)),
        ("[::1]:2003", ListenAddress("::1", 2003)),
        ("unix:/run/counterfoil/bounces", ListenAddress(path="/run/counterfoil/bounces")),
    ],
)
def test_an_address_is_a_host_with_a_port_or_a_path(text: str, address: ListenAddress) -> None:
    assert parse_listen_address(text) == address


@pytest.mark.parametrize(
    "text", ["2003", ":2003", "localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:²", "::1:2003",
             "unix:bounces", "unix:"]
)  # fmt: skip
def test_no_process_starts_with_an_address_that_cannot_be_read(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAIL_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    monkeypatch.setenv("MAIL_BOUNCE_DOMAIN", "bounces.example")
    monkeypatch.setenv("MAIL_BOUNCE_LISTEN", text)
    for process in ("api", "worker"):
        assert main([process]) == 2
        assert capsys.readouterr().err.startswith("mail cannot start: MAIL_BOUNCE_LISTEN: ")


def test_no_process_listens_without_a_domain_to_take_mail_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAIL_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    monkeypatch.setenv("MAIL_BOUNCE_LISTEN", "127.0.0.1:2003")
    assert main(["api"]) == 2
    assert "MAIL_BOUNCE_LISTEN needs MAIL_BOUNCE_DOMAIN" in capsys.readouterr().err


def test_an_api_whose_address_is_taken_does_not_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"MAIL_BOUNCE_LISTEN={listen} cannot be opened: Address already"):
            create_app(Settings(mail_bounce_listen=listen, mail_bounce_domain="bounces.example"))


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        open_socket(ListenAddress(path=str(file)))
    assert file.read_text() == "precious"


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=f"MAIL_BOUNCE_LISTEN=unix:{tmp_path}/none/x cannot be opened: No such"
    ):
        open_socket(ListenAddress(path=f"{tmp_path}/none/x"))
