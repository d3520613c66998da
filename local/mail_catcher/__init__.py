"""The mail catcher: an SMTP server that keeps every mail and serves Mailpit's most used endpoints.

    smtp       the SMTP conversation; 250 after the dot means that the mail is on disk
    simulator  recipients for tests, which are refused, deferred, dropped or bounced (docs/testing.md)
    notices    writes bounces and complaints; feedback brings them to the sender
    store      SQLite: one thread writes, and one commit serves all waiting mails
    message    parses a mail: addresses, subject, text, attachments
    search     search words as conditions of the store
    web        Mailpit's API
    viewer     the pages for people; html_frame makes a mail's HTML safe to show, pages/ has the templates

It replaces a gateway on a developer's machine. It never delivers a mail.
"""
