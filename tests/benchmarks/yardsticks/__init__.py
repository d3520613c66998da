"""The yardsticks of the benchmarks. Each runs as a separate process."""
