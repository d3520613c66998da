"""Incident 1: the signup request waits for the mailer."""

import os
import signal

from tests.support.stack import Ledgers, eventually


async def test_signup_says_yes_while_every_other_process_is_frozen(ledgers: Ledgers) -> None:
    others = ("signup-worker", "mail-api", "mail-worker", "catcher")
    stack = ledgers.stack
    pids = [stack.processes[name].pid for name in others]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # worse than dead: they accept connections and never answer
    try:
        answers = [await ledgers.sign_up(f"story1-{n}@x.example") for n in range(20)]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert {answer.status_code for answer in answers} == {202}
    for n in range(20):
        await eventually(
            lambda n=n: ledgers.caught(f"story1-{n}@x.example"),  # type: ignore[misc]
            lambda found: len(found) == 1,
            what="the mail after the thaw",
        )
