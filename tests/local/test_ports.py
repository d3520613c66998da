"""The operations ports of `make run`: the usual ones, unless another program has them."""

import itertools
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.credentials import Vault
from local.ports import KEPT_PORTS, is_free, kept_port, pick_free, with_operations_ports
from local.settings import CHECKOUT, LocalError, read_settings

SIGNUP, MAIL = "SIGNUP_OPERATIONS_PORT", "MAIL_OPERATIONS_PORT"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "secrets.json")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_no_port_is_picked_twice_although_it_is_not_bound_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pick_free(), pick_free()
    drawn = itertools.chain([first, second], KEPT_PORTS)
    monkeypatch.setattr(random, "choice", lambda _: next(drawn))
    assert pick_free() not in {first, second}


def test_a_port_that_is_kept_is_not_picked_for_another_listener(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.keep("POSTGRES_PORT", str(kept := next(filter(is_free, reversed(KEPT_PORTS)))))
    assert kept_port(vault, "POSTGRES_PORT", None) == kept
    drawn = itertools.chain([kept], KEPT_PORTS)
    monkeypatch.setattr(random, "choice", lambda _: next(drawn))
    assert pick_free() != kept


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes share no such names")
def test_a_port_that_another_process_has_picked_is_not_picked() -> None:
    code = "from local.ports import pick_free; print(pick_free(), flush=True); input()"
    command = (sys.executable, "-c", code)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        drawn = itertools.chain([port], KEPT_PORTS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(random, "choice", lambda _: next(drawn))
            assert pick_free() != port
        other.communicate("\n")


def test_the_usual_ports_are_taken_when_they_are_free(vault: Vault) -> None:
    usual = {SIGNUP: pick_free(), MAIL: pick_free()}
    chosen = with_operations_ports(read_settings({}), vault, usual).ports
    assert {name: chosen[name] for name in usual} == usual
    assert chosen["SIGNUP_PORT"] == 8001


def test_a_second_checkout_picks_another_port_and_keeps_it(vault: Vault, taken: int) -> None:
    usual = {SIGNUP: taken, MAIL: pick_free()}
    first = with_operations_ports(read_settings({}), vault, usual).ports[SIGNUP]
    assert first != taken
    assert with_operations_ports(read_settings({}), vault, usual | {SIGNUP: pick_free()}).ports[SIGNUP] == first


def test_a_usual_port_that_another_listener_was_given_is_left_to_it(vault: Vault) -> None:
    port = pick_free()
    settings = read_settings({"MAIL_PORT": str(port)})
    assert with_operations_ports(settings, vault, {SIGNUP: port, MAIL: pick_free()}).ports[SIGNUP] != port


def test_a_port_that_was_asked_for_is_used_or_named_when_it_is_taken(vault: Vault, taken: int) -> None:
    port = pick_free()
    settings = read_settings({SIGNUP: str(port), MAIL: str(taken)})
    with pytest.raises(LocalError, match=rf"port {taken} is taken.*{MAIL}"):
        with_operations_ports(settings, vault)
    assert with_operations_ports(read_settings({SIGNUP: str(port)}), vault).ports[SIGNUP] == port


def test_one_port_for_two_listeners_is_refused() -> None:
    with pytest.raises(LocalError, match=f"ports must differ.*{SIGNUP}=8001"):
        read_settings({SIGNUP: "8001"})
