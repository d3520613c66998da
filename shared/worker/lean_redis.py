"""Imports redis without cryptography, which it loads by way of PyJWT for a login that Valkey does not have: 10 MB.

Import this before redis. Whatever uses cryptography later finds it.
"""

import sys

_NAME = "cryptography"

if "redis" not in sys.modules and _NAME not in sys.modules:
    sys.modules[_NAME] = None  # type: ignore[assignment] # Python's way to say that a module cannot be imported
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules[_NAME]
