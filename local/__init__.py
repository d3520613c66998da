"""`make run` and `make demo`: everything on one machine, supervised.

The modules, in the order of a start:

    settings    what the environment asks for: ports, folders, existing servers to use
    ports       free and taken ports
    credentials passwords and keys, created once and kept in the state directory
    process     how a child process starts: as which user, and so that it cannot outlive the launcher
    binaries    the programs of the embedded servers
    postgres    a PostgreSQL cluster: created, started, with roles and databases
    valkey      the same for Valkey
    supervisor  supervisord: its configuration, its process, its API; process_monitor: restarts and new process IDs
    programs    the table of processes; wiring: their URLs, roles and environments
    commands    migrations and other short-lived processes; keys: API keys minted and registered
    lock        one stack per state directory; venv_lock: no rebuild of .venv under a running stack
    stack       the order of a start; runenv: run.env
    console_link a link to the console that signs in once
    demo        people sign up, and both ledgers are compared
    catcher/    the SMTP server that keeps every mail

No module of services/ or shared/ imports this package. Tests use `postgres.start_server` and `valkey.start_server`,
which need no supervisor.
"""
