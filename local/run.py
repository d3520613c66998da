"""`python -m local run`: the stack in the foreground, until Ctrl-C."""

import asyncio
import shlex
import signal
import time
from collections.abc import Awaitable, Callable

from .console_link import make_link
from .settings import LocalError, Settings
from .stack import RECIPE, Recipe, Stack, say
from .supervisor import SupervisorGoneError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Use = Callable[[Stack], Awaitable[int]]
STOPPED, FAILED, FORCED = 0, 1, 130


async def run(settings: Settings, recipe: Recipe = RECIPE, use: Use | None = None) -> int:
    """Returns the exit status: that of `use` on the running stack, or 0 when a signal ends it."""
    stack = Stack(settings, recipe)
    work = asyncio.ensure_future(_work(stack, use))
    signals_received = 0

    def end() -> None:
        nonlocal signals_received
        signals_received += 1
        if signals_received == 1:
            say("\nstopping; press Ctrl-C again to force it")
            work.cancel()
        else:
            stack.force()

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, end)
    status = STOPPED
    try:
        status = await work
    except asyncio.CancelledError:
        pass
    except (LocalError, SupervisorGoneError) as error:
        say(f"error: {error}")
        status = FAILED
    finally:
        await stack.stop()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
    return FORCED if signals_received > 1 else status


async def _work(stack: Stack, use: Use | None) -> int:
    began = time.monotonic()
    say("starting …")
    await stack.start()
    seconds = time.monotonic() - began
    if use is None:
        say(summary(stack, seconds))
        await stack.monitor()
        return FAILED
    say(f"ready in {seconds:.1f} s")
    monitoring = asyncio.ensure_future(stack.monitor())
    try:
        return await use(stack)
    finally:
        monitoring.cancel()


def summary(stack: Stack, seconds: float) -> str:
    facts, state = stack.facts, stack.settings.state
    return f"""ready in {seconds:.1f} s
  signup   {facts["SIGNUP_URL"]}/docs
  mail     {facts["MAIL_URL"]}/docs
  form     {facts["SIGNUP_URL"]}/signup/example   to sign up in a browser
  mails    {facts["CATCHER_URL"]}   every mail that is sent arrives here
  console  {make_link(stack.settings, facts) or "off"}
           signs in once, within ten minutes; `make console` prints another link
  metrics  {facts["SIGNUP_OPERATIONS_URL"]}/metrics, {facts["MAIL_OPERATIONS_URL"]}/metrics
  logs     {state}/log
  shell    set -a; . {shlex.quote(str(stack.settings.run_env))}; set +a   (URLs, OPERATOR_KEY, process IDs)
Try:
  curl -i {facts["SIGNUP_URL"]}/v1/signups -H 'Content-Type: application/json' \\
    -d '{{"email": "ada@example.org", "name": "Ada Lovelace"}}'
Ctrl-C stops everything; all data stays."""
