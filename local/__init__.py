"""`make run` and `make demo`: everything on one machine, supervised.

The way of a start, in the order of the rooms:

    settings    what the environment asks for: ports, places, servers of one's own
    ports       free ports, taken ports
    credentials passwords and keys, made once, kept in the state directory
    process     how a child is started: as whom, and so that it cannot outlive us
    binaries    where the embedded servers' programs are
    postgres    a PostgreSQL cluster: made, started, given roles and databases
    valkey      the same for Valkey
    supervisor  supervisord: its configuration, its life, what it is asked
    programs    the table of processes: who runs, with which environment
    commands    migrations and other short-lived processes; keys: API keys minted and made known
    lock        one stack for each state directory; runenv: var/run.env; stack: the order of things
    demo        a handful of people through both ledgers
    catcher/    the SMTP server that keeps every mail

Nothing in services/ or shared/ knows this package. Tests use `postgres.start_server` and `valkey.start_server`,
which need no supervisor.
"""
