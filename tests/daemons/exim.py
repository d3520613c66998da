"""An Exim that accepts mail for every local user and learns at delivery that there is none."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .programs import find, group_of, owned_by, running

_USER = "Debian-exim"

_CONFIGURATION = """\
# It runs itself again for each delivery.
exim_path = {program}
primary_hostname = mx.local.example
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/exim.pid
exim_user = {user}
exim_group = {group}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
smtp_accept_max = 0
deliver_drop_privilege
message_logs = false
acl_smtp_rcpt = accept_rcpt

begin acl

accept_rcpt:
  # Local users are not looked up, as on a server that does not know the users of the next one.
  accept domains = local.example
  require verify = recipient
  accept

begin routers

# As in docs/bounce-mailbox.md:
bounces:
  driver = manualroute
  domains = bounces.example
  local_parts = \\N^bounce\\+[0-9a-f]{{32}}$\\N
  route_list = * 127.0.0.1
  self = send
  transport = bounces_lmtp

{local}

begin transports

bounces_lmtp:
  driver = smtp
  protocol = lmtp
  port = {lmtp_port}

users_lmtp:
  driver = smtp
  protocol = lmtp
  port = {users_port}

begin retry

# A notice that cannot be brought now is tried again within a second.
*  *  F,1h,1s
"""


_USERS_ELSEWHERE = """\
local:
  driver = manualroute
  domains = local.example
  route_list = * 127.0.0.1
  self = send
  transport = users_lmtp
"""

_NO_USERS = """\
local:
  driver = redirect
  domains = local.example
  allow_fail
  data = :fail: Unknown user
"""


@contextlib.contextmanager
def exim(folder: Path, port: int, lmtp_port: int, users_port: int | None = None) -> Iterator[None]:
    """Listens on `port`, and hands mail for the bounce domain to the LMTP server on `lmtp_port`.

    Its local users are those of the LMTP server on `users_port`; without one it has none.
    """
    program = find("exim4")
    owned_by(_USER, folder / "spool")
    configuration = folder / "exim.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            program=program,
            folder=folder,
            port=port,
            lmtp_port=lmtp_port,
            users_port=users_port or lmtp_port,
            local=_USERS_ELSEWHERE if users_port else _NO_USERS,
            user=_USER,
            group=group_of(_USER),
        )
    )
    with running([program, "-C", str(configuration), "-bdf", "-q1s"], folder / "start.log", port):
        yield
