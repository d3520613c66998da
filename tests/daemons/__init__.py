"""Tests with real mail servers, Postfix, Exim and Dovecot: `make daemon-test`.

Not part of `make test`: they are Debian packages, so the locked requirements cannot install them, and Postfix runs only
as root. Without them the target fails and says what is missing. Each runs in a folder of its own, on loopback ports,
with its own configuration: what is installed on the machine beside them is neither read nor changed.
"""
