"""The mail catcher: an SMTP server that keeps every mail, and answers Mailpit's most used endpoints.

    smtp     the conversation; 250 after the dot means that the mail is on disk
    store    SQLite: one thread writes, and one commit serves everybody who waits
    message  what is read out of a mail: addresses, subject, text, attachments
    web      Mailpit's API, and a page for people

It stands in for a gateway on a developer's machine. It does not deliver, and never will.
"""
