"""Tracebacks show where and why, and repeat no data that a library quotes."""

import subprocess
import sys

import orjson
import pytest
from redis.exceptions import ReadOnlyError

from shared.observability.tracebacks import render
from tests.support.databases import ROOT

QUOTED = "Command # 1 (SET profile:1 {'name': 'Åsa'}) of pipeline caused error: (\"You can't write.\",)"


def _raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as raised:
        raise error
    return raised.value


def _rendered(error: BaseException) -> str:
    return render((type(error), error, error.__traceback__))


def test_an_error_of_a_library_is_described_and_its_frames_stay() -> None:
    text = _rendered(_raised(ReadOnlyError(QUOTED)))
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in _raised\n" in text
    assert text.endswith("\nReadOnlyError: You can't write.")


def test_an_error_of_python_keeps_its_text() -> None:
    assert _rendered(_raised(KeyError("breaker"))).endswith("\nKeyError: 'breaker'")


def test_causes_come_first_and_are_described_too() -> None:
    outer = RuntimeError("the profile was not written")
    outer.__cause__ = _raised(ReadOnlyError(QUOTED))
    parts = _rendered(_raised(outer)).split("\n\n")
    assert parts[0].endswith("ReadOnlyError: You can't write.")
    assert parts[1] == "The above exception was the direct cause of the following exception:"
    assert parts[2].endswith("RuntimeError: the profile was not written")
    assert "Åsa" not in str(parts)


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert _rendered(first).count("ValueError: ") == 2


def test_each_error_of_a_group_is_described() -> None:
    text = _rendered(ExceptionGroup("several", [ReadOnlyError(QUOTED), KeyError("breaker")]))
    assert "ReadOnlyError: You can't write." in text
    assert "KeyError: 'breaker'" in text
    assert "Åsa" not in text


PROGRAM = f"""
import asyncio, gc
from redis.exceptions import ReadOnlyError
from shared.observability import logs
logs.configure("test")
async def fail():
    raise ReadOnlyError({QUOTED!r})
async def main():
    task = asyncio.create_task(fail())
    while not task.done():
        await asyncio.sleep(0)
    del task
    gc.collect()
    try:
        await fail()
    except ReadOnlyError:
        logs.get_logger("services.x").exception("failed")
asyncio.run(main())
"""


def test_a_log_line_about_a_lost_task_or_an_unexpected_error_quotes_no_command() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, check=True)
    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"].partition("\n")[0] for line in lines] == ["Task exception was never retrieved", "failed"]
    assert all(line["exception"].endswith("ReadOnlyError: You can't write.") for line in lines)
    assert "Åsa" not in str(lines)
