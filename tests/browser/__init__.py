"""Tests of the verification pages, the example form and the console in a real Chromium: `make browser-test`.

The console's need npm as well, or AXE: axe-core is taken from there once (`axe`).

Not part of `make test`: Chromium is not a Python package, so the locked requirements cannot install it. Without it the
target fails and says what is missing.
"""
