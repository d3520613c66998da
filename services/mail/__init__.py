"""The mail service: one mail per (client, request ID), for ever, and an honest answer to "what have you sent?".

The way of a mail, folder by folder:

- `http/` takes requests and answers questions, one file per resource;
- `intake/` accepts once per request ID, renders and pins the content, in one commit with the queue and history;
- `delivery/` claims from the queue, speaks SMTP to the gateways and records what became of each attempt;
- `bounces/` takes in what comes back about mails that had left;
- `interventions/` is what people do to mails: cancel, retry, resolve, restore, erase;
- `ledger/` reads the ledger: mails, history, attempts; and keeps nothing for longer than it should. What must never be in
  it (`sanity`), and what wakes the operators (`alerts`).

`app.py` puts the API together, `worker.py` the delivery worker, `__main__.py` starts either.
"""
