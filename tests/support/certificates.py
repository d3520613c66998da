"""Each client of httpx reads a bundle of certificates when it is made, which takes 30 ms. Only tests that install
something need one.
"""

import os

_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_given: dict[str, str] = {}


def leave_out() -> None:
    """From now on, this process and those that it starts read none."""
    _given.update({name: os.environ.pop(name) for name in _VARIABLES if name in os.environ})
    os.environ["SSL_CERT_DIR"] = os.devnull


def with_certificates() -> dict[str, str]:
    """The environment as it was given, for a program that installs something."""
    return {name: value for name, value in os.environ.items() if name not in _VARIABLES} | _given
