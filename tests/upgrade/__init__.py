"""Versions side by side: the processes of 0.1.0 and the present ones (rolling.py, `make upgrade-test`), and the
statements of the revision before the newest against its schema (test_the_revision_before.py).
"""
