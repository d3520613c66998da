"""Deliberately broken lines: each breaks one promise, and a test that names it must fail (docs/mutations.md)."""
