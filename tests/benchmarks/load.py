"""Drives signups from a separate process: `wrk` where it is installed, else `client.py`."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Load:
    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "own client"


def drive(url: str, tag: str, seconds: float, connections: int = 16) -> Load:
    """Keep `connections` busy for `seconds`; each request signs up another person.

    Raises:
        RuntimeError: some answer was not a 2xx.
    """
    if wrk := shutil.which("wrk"):
        command = [wrk, "-t1", f"-c{connections}", f"-d{round(seconds)}s", "-s", str(HERE / "signup.lua")]
        command += [f"{url}/v1/signups", "--", tag]
    else:
        command = [sys.executable, "-m", "tests.benchmarks.client", url, tag, str(seconds)]
        command += ["--connections", str(connections)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parents[1])
    load = Load(**json.loads(done.stdout.partition("JSON ")[2]))
    if load.errors:
        raise RuntimeError(f"{load.errors} of {load.requests} requests failed")
    return load
