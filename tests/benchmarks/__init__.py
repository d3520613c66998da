"""Speed, always as a ratio to a yardstick in the same run: `python -m tests.benchmarks` (docs/benchmarks.md)."""
