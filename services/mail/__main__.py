"""`python -m services.mail …`: see `--help`. `check` loads nothing else, because containers ask it all the time."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        from shared.process import own_health

        sys.exit(own_health.main("mail", sys.argv[2:]))
    from shared.process import lean_imports  # noqa: F401 - first: it decides what the others load

    from .command_line import main  # isort: skip

    sys.exit(main())
