"""An invented notice for each mail server whose words `systems/servers.py` knows, as it would write it."""

from tests.unit.mail_bounces.example import Example

SERVERS = (
    Example(
        "Exim",
        """\
This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  lost@shop.example
    host mx.shop.example [192.0.2.7]
    SMTP error from remote mail server after RCPT TO:<lost@shop.example>:
    550 5.1.1 <lost@shop.example>: no mailbox here by that name

------ This is a copy of the message, including all the headers. ------

Subject: 451 4.7.1 is only in the mail that is returned
""",
        status="5.1.1",
        code=550,
    ),
    Example(
        "Exim",
        """\
This message was created automatically by mail delivery software.
A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on mx.example.

The address to which the message has not yet been delivered is:

  slow@shop.example
    Delay reason: SMTP error from remote mail server after RCPT TO:<slow@shop.example>:
    451 4.7.1 Greylisted, please try again

No action is required on your part. Eventually the mail delivery software
will give up, and when that happens, the message will be returned to you.
""",
        kind="delayed",
        status="4.7.1",
        code=451,
    ),
    Example(
        "qmail",
        """\
Hi. This is the qmail-send program at mx.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<lost@shop.example>:
192.0.2.7 does not like recipient.
Remote host said: 552 5.2.2 The mailbox of lost is full
Giving up on 192.0.2.7.

--- Below this line is a copy of the message.
""",
        status="5.2.2",
        code=552,
    ),
    Example(
        "Postfix",
        """\
This is the Postfix program at host mx.example.

I'm sorry to have to inform you that your message could not be
be delivered to one or more recipients.

<lost@shop.example>: host mx.shop.example[192.0.2.7] said: 554 5.7.1 Service
    unavailable; client host blocked (in reply to RCPT TO command)
""",
        status="5.7.1",
        code=554,
    ),
    Example(
        "sendmail",
        """\
The original message was received at Mon, 23 Nov 2026 10:00:00 GMT
from app.example [192.0.2.9]

   ----- The following addresses had permanent fatal errors -----
<lost@shop.example>

   ----- Transcript of session follows -----
... while talking to mx.shop.example.:
>>> RCPT To:<lost@shop.example>
<<< 550 lost@shop.example is not a customer of ours
550 <lost@shop.example>... User unknown
""",
        code=550,
    ),
    Example(
        "sendmail",
        """\
    **********************************************
    **      THIS IS A WARNING MESSAGE ONLY      **
    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **
    **********************************************

   ----- The following addresses had transient non-fatal errors -----
<slow@shop.example>

   ----- Transcript of session follows -----
<slow@shop.example>... Deferred: Connection timed out with mx.shop.example.
Warning: message still undelivered after 4 hours
Will keep trying until message is 5 days old
""",
        kind="delayed",
    ),
    Example(
        "V5 sendmail",
        """\
550 shop.example (smtp)... 550 Host unknown
554 <lost@shop.example>... 550 Host unknown (Name server says no)
""",
        code=550,
    ),
    Example(
        "OpenSMTPD",
        """\
    Hi!

    This is the MAILER-DAEMON, please DO NOT REPLY to this email.

    An error has occurred while attempting to deliver a message for
    the following list of recipients:

lost@shop.example: 550 5.1.1 <lost@shop.example>: Recipient address rejected

    Below is a copy of the original message:
""",
        status="5.1.1",
        code=550,
    ),
    Example(
        "DragonFly Mail Agent",
        """\
This is the DragonFly Mail Agent v0.13 at app.example.

There was an error delivering your mail to <lost@shop.example>.

mx.shop.example [192.0.2.7] did not like our RCPT TO:
550 5.4.1 Recipient address rejected: Access denied

Message headers follow.
""",
        status="5.4.1",
        code=550,
    ),
    Example(
        "Courier",
        """\
This is a delivery status notification from mx.example,
running the Courier mail server, version 1.2.

                           UNDELIVERABLE MAIL

Your message to the following recipients cannot be delivered:

<lost@shop.example>:
    mx.shop.example [192.0.2.7]:
>>> RCPT TO:<lost@shop.example>
<<< 550 5.1.1 lost is not here
""",
        status="5.1.1",
        code=550,
    ),
    Example(
        "Apache James",
        """\
Message details:
  Subject: Welcome
  Sent date: Mon Nov 23 10:00:00 GMT 2026
  RCPT TO: lost@shop.example
Error message below:
550 - Requested action not taken: no such user here
""",
        sender="postmaster@mx.example",
        code=550,
    ),
    Example(
        "Exchange",
        """\
Your message

  To:      lost@shop.example
  Subject: Welcome
  Sent:    Mon, 23 Nov 2026 10:00:00 +0000

did not reach the following recipient(s):

lost@shop.example on Mon, 23 Nov 2026 10:00:05 +0000
    The recipient name is not recognized
    MSEXCH:IMS:Shop:HQ:EX1 0 (000C05A6) Unknown Recipient
""",
        sender="System Administrator <postmaster@shop.example>",
    ),
    Example(
        "Exchange in other languages",
        """\
Fehler bei der Nachrichtenzustellung an folgende Empfänger oder Verteilerlisten:

lost@shop.example
Die eingegebene E-Mail-Adresse konnte nicht gefunden werden.

Diagnoseinformationen für Administratoren:

lost@shop.example
#550 5.1.10 RecipientNotFound; Recipient not found by SMTP address lookup
""",
        sender="Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@shop.example>",
        status="5.1.10",
        code=550,
    ),
    Example(
        "Microsoft SMTP service",
        """\
This is an automatically generated Delivery Status Notification.

Delivery to the following recipients failed.

       lost@shop.example
""",
        sender="postmaster@mx.example",
    ),
    Example(
        "Domino",
        """\
------- Failure Reasons  --------

User lost not listed in public Name & Address Book
lost@shop.example


------- Returned Message --------
""",
        sender="postmaster@shop.example",
    ),
    Example(
        "IMail",
        """\
Unknown user: lost@shop.example


Original message follows.
""",
        sender='"Postmaster" <postmaster@shop.example>',
        fields="X-Mailer: <SMTP32 v8.05>\n",
    ),
    Example(
        "MDaemon",
        """\
The attached message had PERMANENT fatal delivery errors!

After one or more unsuccessful delivery attempts the attached message has
been removed from the mail queue on this server.

Failed address: lost@shop.example

--- Session Transcript ---
 --> RCPT To:<lost@shop.example>
 <-- 550 5.1.1 lost unknown
""",
        status="5.1.1",
        code=550,
    ),
    Example(
        "CommuniGate Pro",
        """\
Failed to deliver to 'lost@shop.example'
LOCAL module(account lost) reports:
 account is full (quota exceeded)
""",
    ),
    Example(
        "GroupWise",
        """\
The message that you sent was undeliverable to the following:
\tlost@shop.example (550 Host unknown)
""",
        code=550,
    ),
    Example(
        "Sun Messaging Server, PMDF",
        """\
This report relates to a message you sent with the following header fields:

  Subject: Welcome

Your message cannot be delivered to the following recipients:

  Recipient address: lost@shop.example
  Reason: Remote SMTP server has rejected address
  Diagnostic code: smtp;550 5.1.1 unknown user
""",
        status="5.1.1",
        code=550,
    ),
    Example(
        "MailEnable, SmarterMail",
        """\
Could not deliver message to the following recipient(s):

Failed Recipient: lost@shop.example
Reason: Remote host said: 550 No such mailbox
""",
        code=550,
    ),
    Example(
        "Cisco Email Security",
        """\
The following message to <lost@shop.example> was undeliverable.
The reason for the problem:
5.1.0 - Unknown address error 550-'no such address'
""",
        status="5.1.0",
        code=550,
    ),
    Example(
        "Dovecot",
        """\
Your message to <lost@shop.example> was automatically rejected:
Quota exceeded (mailbox for user is full)
""",
        sender="Mail Delivery Subsystem <postmaster@shop.example>",
        fields="Auto-Submitted: auto-replied (rejected)\n",
    ),
)
