"""The mail catcher: an SMTP server that keeps every mail and serves Mailpit's most used endpoints.

    smtp     the SMTP conversation; 250 after the dot means that the mail is on disk
    store    SQLite: one thread writes, and one commit serves all waiting mails
    message  parses a mail: addresses, subject, text, attachments
    web      Mailpit's API, and a page for people

It replaces a gateway on a developer's machine. It never delivers a mail.
"""
