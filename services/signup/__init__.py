"""The signup service: it signs people up, verifies their addresses, and asks the mail service for every mail owed.

The rooms, in the order of the data:

    http/            takes requests: one file per resource, `schemas` for bodies, `pages/` for browsers
    console/         the operators' console: pages on a server, loaded on first use
    cli/             operator commands, and the client that uploads an import
    accounts/        use cases: `sign_up` and `verify` commit the user and every effect owed together
    erasure/         use cases: `erase` a user, clean up users who never verified
    imports/         files of users: upload, parse, classify, and the loop that signs the rows up
    outbox/          effects owed: row states, retry policy and relay; `effects/` has one module per effect
    reconciliation/  follows the mail service's change feed, compares both ledgers and repairs what is safe
    audit/           sanity checks, alerts, stage metrics and the `timeline` of one user

`app` and `worker` are the composition roots; `command_line` runs them. `tables` is the schema as SQLAlchemy sees it.
SQL with fixed text is in each room's `queries` modules.
"""
