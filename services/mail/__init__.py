"""The mail service: one mail per (client, request ID), for ever, and an exact answer to "what have you sent?".

A mail passes through these rooms:

- `http/` reads requests and writes answers, one file per resource;
- `cli/` has the operators' commands;
- `intake/` accepts a mail once per request ID, renders and pins its content, in one commit with queue and history;
- `delivery/` claims from the queue, sends through `gateways/` (SMTP, rate limits, failover) and records each attempt;
- `bounces/` parses and ingests notices about mails that were sent;
- `operator_actions/` changes mails for operators: cancel, retry, resolve, restore, erase;
- `ledger/` reads mails, history, attempts and the change feed, and holds suppressions and retention;
- `audit/` holds sanity checks, alerts, and the SQL of health and stage metrics.

`app.py` builds the API and `worker.py` the delivery worker; `command_line.py` starts either.
"""
