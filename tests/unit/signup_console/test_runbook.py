"""The runbook as the console shows it: every alert's and check's section, as text, and nothing of it as markup."""

import pytest

from services.mail.audit.alerts import alert_catalog as mail_catalog
from services.mail.settings import Settings as MailSettings
from services.signup.audit.alerts import alert_catalog as signup_catalog
from services.signup.console.runbook import Runbook, read
from services.signup.settings import Settings as SignupSettings


@pytest.mark.parametrize(
    "name", sorted({*signup_catalog(SignupSettings()).sources, *mail_catalog(MailSettings()).sources})
)
def test_every_alert_has_a_section_that_the_console_finds(name: str) -> None:
    section = Runbook.load().section(name)
    assert section
    assert any(block.kind == "text" for block in section)


def test_no_backtick_and_no_fence_is_left() -> None:
    for name, blocks in Runbook.load().sections.items():
        for block in blocks:
            if block.kind != "code":
                assert "`" not in block.html, (name, block.html)
            assert "```" not in block.html, name


TEXT = """
## stove_on

A <b> **very** `hot` stove, see [light](#light_on)
and [more](metrics.md).

- one
  goes on
- two

```sh
echo '<x>'
# no heading
```
"""
PARAGRAPH = (
    "A &lt;b&gt; <strong>very</strong> <code>hot</code> stove, "
    'see <a href="/console/runbook/light_on">light</a> and more <span class=quiet>(metrics.md)</span>.'
)


def test_text_is_escaped_and_the_few_forms_are_markup() -> None:
    section = read(TEXT).section("stove_on")
    assert section
    assert [(block.kind, str(block.html)) for block in section] == [
        ("text", PARAGRAPH),
        ("item", "one goes on"),
        ("item", "two"),
        ("code", "echo &#39;&lt;x&gt;&#39;\n# no heading"),
    ]
