"""A real Prometheus with the configuration and rules of deploy/monitoring."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from local.ports import pick_free
from local.process import dies_with_parent
from tests.support.databases import ROOT

FOLDER = ROOT / "deploy" / "monitoring"
# Short, so that a rate has two samples within a test; query windows shrink with it.
SCRAPE_SECONDS = 1
WINDOW = "20s"


def find(program: str) -> str:
    """The program's path. Raises FileNotFoundError when it is not installed."""
    found = shutil.which(program)
    if found is None:
        raise FileNotFoundError(f"{program} is not on PATH: install Prometheus (on Debian: apt-get install prometheus)")
    return found


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([find("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)


@dataclass
class Prometheus:
    """Runs for the length of the block; `targets` maps a job name to its address."""

    folder: Path
    targets: dict[str, str]
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> Self:
        self.port = pick_free()
        configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
        configuration["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
        configuration["rule_files"] = [str(FOLDER / name) for name in configuration["rule_files"]]
        for scrape in configuration["scrape_configs"]:
            scrape["static_configs"] = [{"targets": [self.targets[scrape["job_name"]]]}]
        written = self.folder / "prometheus.yml"
        written.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        log = (self.folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            (
                *dies_with_parent("KILL"),
                find("prometheus"),
                f"--config.file={written}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ),
            stdout=log,
            stderr=log,
        )
        log.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, path: str, **parameters: str) -> Any:
        """`data` of the answer. Raises AssertionError with Prometheus' error when the query is wrong."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as http:
            answer = (await http.get(f"/api/v1/{path}", params=parameters)).json()
        assert answer["status"] == "success", answer.get("error")
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The current series of a query, as Grafana requests them with a short interval."""
        expression = expression.replace("$__rate_interval", WINDOW).replace("[5m]", f"[{WINDOW}]")
        found: list[dict[str, Any]] = (await self.ask("query", query=expression))["result"]
        return found
