"""What the parameters of the mail service's calls are, with examples."""

from shared.http.document.story import EMAIL, MAIL, MESSAGE_ID, ROW
from shared.http.document.teaching import About

PARAMETERS = {
    "mail_id": About("The ID of the mail", MAIL),
    "Idempotency-Key": About("The request ID, here instead of in the body. Both: they must agree", ROW),
    "request_id": About("Mails with this request ID; repeated: any of them", [ROW]),
    "message_id": About("With its angle brackets, as recipients see it; repeated: any of them", [MESSAGE_ID]),
    "list_mails.to": About("Mails to this address, in any spelling; repeated: to any of them", [EMAIL]),
    "list_mails.state": About("Mails in this state; repeated: in any of them", ["sent"]),
    "template": About("Mails made from this template; repeated: from any of them", ["verification"]),
    "client": About("Mails of this client, for keys with `mails:all`; repeated: of any of them", ["signup"]),
    "tag": About("Mails with this tag; repeated: with any of them", ["invoice"]),
    "accepted_after": About("Mails accepted at this time or later (RFC 3339)", "2026-06-26T00:00:00Z"),
    "accepted_before": About("Mails accepted before this time (RFC 3339)", "2026-06-27T00:00:00Z"),
    "sent_after": About(
        "Mails sent at this time or later (RFC 3339). Of mails accepted before it, a page looks at 100,000 unless "
        "another filter names few: it may be short, or empty, and still have a next one",
        "2026-06-26T00:00:00Z",
    ),
    "sent_before": About("Mails sent before this time (RFC 3339)", "2026-06-27T00:00:00Z"),
    "metadata": About("`metadata.KEY=value`", {"metadata.user_id": "019f033a-9a67-792b-bb42-1992ef490f3b"}),
    "include": About("`content`: also the subject, text, HTML and headers, as pinned when the mail was accepted"),
    "get_mail_attempts.cursor": About("Where to go on: `next_cursor` of the previous page", "3"),
    "list_changes.after": About("`next_cursor` of the previous call. Default: from the beginning"),
    "n": About("Its place in `attachments`, from 0", 0),
    "list_bounces.mail_id": About("Notices about this mail; repeated: about any of them", [MAIL]),
    "list_bounces.outcome": About("Notices with this outcome; repeated: with any of them", ["bounced"]),
    "list_suppressions.email": About("This address, in any spelling; repeated: any of them", [EMAIL]),
    "email": About("The address, in any spelling", EMAIL),
    "delete_suppressions.source": About("What suppressed them; repeated: any of them", ["bounce"]),
    "delete_suppressions.after": About("Suppressed at this time or later (RFC 3339)", "2026-06-26T09:00:00Z"),
    "delete_suppressions.before": About("Suppressed before this time (RFC 3339)", "2026-06-26T10:00:00Z"),
    "name": About("The name of the template", "verification"),
    "provider": About("`ses`, `postmark`, `mailgun`, `sendgrid`, `resend` or `brevo`", "postmark"),
}
