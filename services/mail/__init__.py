"""The mail service: one mail per (client, request ID), for ever, and an honest answer to "what have you sent?".

The way of a mail, folder by folder:

- `http/` takes requests and answers questions, one file per resource;
- `intake/` accepts once per request ID, renders and pins the content, in one commit with the queue and history;
- `delivery/` claims from the queue, speaks SMTP to the gateways and records what became of each attempt;
- `ledger/` reads the book: mails, history, attempts.

`app.py` puts the API together, `worker.py` the delivery worker, `__main__.py` starts either.
"""
