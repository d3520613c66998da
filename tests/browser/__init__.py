"""The pages for people, driven in a real Chromium: `make browser-test`.

Not part of `make test`: Chromium is no Python package, so the locked requirements cannot bring it. Nothing is skipped
without it; the target fails and says what is missing.
"""
