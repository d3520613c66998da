"""Tests of the verification pages in a real Chromium: `make browser-test`.

Not part of `make test`: Chromium is not a Python package, so the locked requirements cannot install it. Without it the
target fails and says what is missing.
"""
