"""How fast it is, always beside a yardstick in the same run: `python -m tests.benchmarks` (docs/benchmarks.md)."""
