"""`python -m services.mail templates`: a check for a CI, and a template to start from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.mail.command_line import main
from services.mail.intake.template_engine import SHIPPED, Templates
from tests.support.databases import ROOT


def test_a_check_needs_no_settings_and_prints_each_template_with_its_locales(tmp_path: Path) -> None:
    (tmp_path / "verification" / "eo").mkdir(parents=True)
    for part, content in (("subject.txt", "Saluton"), ("text.txt", "{{ link }}"), ("html.html", "<p>{{ link }}</p>")):
        (tmp_path / "verification" / "eo" / part).write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "services.mail", "templates", "check", str(tmp_path)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "MAIL_GATEWAYS": "nonsense"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    templates = Templates.load(own=tmp_path)
    assert done.stdout.splitlines() == [
        f"{name}: {', '.join(templates.describe(name)['locales'])}" for name in templates.names()
    ]
    assert "eo" in done.stdout


def test_a_check_that_fails_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "layout.html").write_text("<html>\n<p>\n</html>\n")
    assert main(["templates", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{tmp_path}/layout.html, line 2: the HTML is not well-formed: <p> is not closed")


def test_a_check_of_no_folder_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["templates", "check", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/none is no folder\n"


def test_a_new_template_is_complete_and_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    assert main(["templates", "new", "receipt", "--folder", str(folder)]) == 0
    written = sorted(str(file) for file in folder.rglob("*.*"))
    assert capsys.readouterr().out.splitlines() == written
    (english,) = Templates.load(own=folder).preview("receipt")
    assert english.locale == "en"
    assert "Hello Ada Lovelace," in english.text
    assert "Hello <bdi>Ada Lovelace</bdi>," in english.html


def test_a_new_template_with_a_shipped_name_is_a_copy_of_the_shipped_one(tmp_path: Path) -> None:
    assert main(["templates", "new", "verification", "--folder", str(tmp_path)]) == 0
    assert Templates.load(own=tmp_path).describe("verification") == Templates.load().describe("verification")
    copied = {file.relative_to(tmp_path) for file in tmp_path.rglob("*.*")}
    assert copied == {file.relative_to(SHIPPED) for file in (SHIPPED / "verification").rglob("*.*")}


def test_a_new_template_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "receipt").mkdir()
    assert main(["templates", "new", "receipt", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/receipt exists already: nothing was written\n"
    assert list((tmp_path / "receipt").iterdir()) == []


@pytest.mark.parametrize("name", ["Receipt", "../receipt", "a/b", "", ".hidden", "x" * 101])
def test_the_name_of_a_new_template_is_checked(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["templates", "new", name, "--folder", str(tmp_path / "mine")]) == 1
    assert capsys.readouterr().err.startswith("NAME: ")
    assert list(tmp_path.iterdir()) == []
