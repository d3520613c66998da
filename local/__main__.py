"""`python -m local run`, `demo` and `console`."""

import argparse
import asyncio
import sys

from .settings import LocalError, read_settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description="Run Counterfoil on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="start everything, supervised, until Ctrl-C")
    commands.add_parser("demo", help="sign up six people and compare both ledgers")
    commands.add_parser("console", help="print a link that signs in to the console of the running stack, once")
    command = parser.parse_args().command
    try:
        settings = read_settings()
        if command == "console":
            from .console_link import print_link  # noqa: PLC0415 - as below

            return print_link(settings)
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if command == "demo":
        from .demo import demo  # noqa: PLC0415 - `run` starts faster without an HTTP client

        return asyncio.run(demo(settings))
    from .run import run  # noqa: PLC0415 - as above

    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
