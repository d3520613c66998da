"""HTML that mail programs would have to repair is found, at its place."""

import pytest

from services.mail.intake.template_html import find_fault


@pytest.mark.parametrize(
    "html",
    [
        "<!DOCTYPE html>\n<html><head><meta charset='utf-8'><title>a &lt; b</title></head><body>a<br>b</body></html>\n",
        "<p>a<br/>b<img src='x'/></p>",
        "<P>a</p>",
        "<style>a > b { color: red } /* <p> */</style><p>a < b & c &amp; d &#60;p</p>",
        "<!-- <p> --><!--[if mso]><table><tr><td><![endif]--><p>a</p>",
        "<svg><path d='M0'/><g><circle/></g></svg>",
        '<p title="a > b <i>">c</p>',
        "words alone",
    ],
)
def test_well_formed_html_is_let_through(html: str) -> None:
    assert find_fault(html) is None


@pytest.mark.parametrize(
    ("html", "begins", "what"),
    [
        ("<div>\n<p>a\n</div>", "<p>", "<p> is not closed before </div>"),
        ("<div>\n<p>a</p>\n", "<div>", "<div> is not closed"),
        ("<p>a</b></p>", "</b>", "</b> closes nothing"),
        ("<p>a<br></br></p>", "</br>", "</br> closes nothing"),
        ("<p>a</p></p>", "</p></p>"[4:], "</p> closes nothing"),
        ("<p>a<div/></p>", "<div/>", "<div> is not closed before </p>"),
        ("<p>a</p>\n<p class='x", "<p class", "begins here and does not end"),
        ("<p>a</p>\n<!-- b", "<!-- b", "begins here and does not end"),
        ("<p>a</p>\n<style>b", "<style>", "<style> is not closed"),
        ("<p>a</p", "</p", "begins here and does not end"),
        ("<p>a <![nonsense[b]]></p>", "<![", "is no HTML"),
    ],
)
def test_a_fault_is_found_where_it_begins(html: str, begins: str, what: str) -> None:
    fault = find_fault(html)
    assert fault is not None
    assert what in fault.what
    assert html[fault.offset :].startswith(begins)
