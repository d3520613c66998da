"""Hypothesis state machines on real PostgreSQL: any order of steps, several workers at once, promises after each.

`make test` runs a fixed set of orders. STATE_MACHINE_EXAMPLES=500 tries that many others.
"""
