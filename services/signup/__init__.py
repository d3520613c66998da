"""The signup service: people exist, their addresses are verified, and every mail owed to them is on the ledgers.

The way of the data, in the order of the rooms:

    http/       requests come in: one file per resource, their models in `schemas`, pages for browsers
    accounts/   what a request does: `sign_up` is THE transaction, `verify` the other; `token` makes and checks links;
                `import_users/` does the same for files of people
    outbox/     what is owed: rows, their states and decisions (`entry`), who works them off (`relay`), and each kind
                of effect (`effects` lists them; `mail` asks the mail service)
    ledger/     the ledgers kept in order: heartbeats and partitions; what became of each mail (`follower`), and both
                services' ledgers laid side by side (`reconcile`, which walks, compares and heals); what must never be
                in the ledger (`sanity`), what wakes the operators (`alerts`), one person's `timeline`

`app` and `worker` put these together; `__main__` runs them. `tables` is the schema as SQLAlchemy sees it, and the SQL
with fixed text stands in each room's `queries`.
"""
