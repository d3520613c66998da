"""A Postfix that accepts mail for every local user and learns at delivery that there is none."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .programs import find, owned_by, running

_DAEMONS = "/usr/lib/postfix/sbin"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
daemon_directory = {daemons}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
smtp_host_lookup = native
myhostname = mx.local.example
mynetworks = 127.0.0.0/8
mydestination = local.example
alias_maps =
alias_database =
# Empty: RCPT is not checked, as on a server that does not know the users of the next one.
local_recipient_maps =
# A notice that cannot be brought now is tried again within a second.
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s

# As in docs/bounce-mailbox.md:
relay_domains = bounces.example
relay_recipient_maps = regexp:{folder}/etc/bounces
transport_maps = inline:{{bounces.example=lmtp:{next_hop}}}
"""

_RECIPIENTS = r"/^bounce\+[0-9a-f]{32}@bounces\.example$/ OK"

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
lmtp      unix  - - n - - lmtp
local     unix  - n n - - local
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


@contextlib.contextmanager
def postfix(folder: Path, port: int, next_hop: str) -> Iterator[None]:
    """Listens on `port`, and hands mail for the bounce domain to an LMTP server: `inet:host:port` or `unix:/path`."""
    configuration = folder / "etc"
    configuration.mkdir()
    (folder / "spool").mkdir()
    owned_by("postfix", folder / "data")
    (configuration / "main.cf").write_text(_MAIN.format(folder=folder, daemons=_DAEMONS, next_hop=next_hop))
    (configuration / "bounces").write_text(f"{_RECIPIENTS}\n")
    (configuration / "master.cf").write_text(_MASTER.format(port=port))
    # Makes the folders of the queue. `postfix start` would leave a master behind that outlives this process.
    subprocess.run([find("postfix"), "-c", str(configuration), "check"], check=True)
    with running([f"{_DAEMONS}/master", "-c", str(configuration), "-d"], folder / "start.log", port):
        yield
