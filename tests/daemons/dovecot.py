"""A Dovecot with one mailbox, which takes mail by LMTP and gives it by IMAP over TLS."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .programs import find, owned_by, running

# The part after the + is no part of the mailbox's name: every envelope sender of ours leads to one mailbox.
USER, PASSWORD = "bounce@bounces.example", "tr0ub4dor & 3"
_OWNER = "nobody"

_CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = required
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
recipient_delimiter = +
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
  default_fields = uid={owner} gid=nogroup home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp_port}
  }}
}}
"""


@contextlib.contextmanager
def dovecot(folder: Path, lmtp_port: int, imaps_port: int) -> Iterator[None]:
    """`cert.pem` in `folder` is the certificate that clients must trust."""
    _make_certificate(folder)
    owned_by(_OWNER, folder / "mail")
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}::::::\n")
    configuration = folder / "dovecot.conf"
    configuration.write_text(
        _CONFIGURATION.format(folder=folder, owner=_OWNER, lmtp_port=lmtp_port, imaps_port=imaps_port)
    )
    with running([find("dovecot"), "-F", "-c", str(configuration)], folder / "start.log", lmtp_port, imaps_port):
        yield


def _make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
