"""An invented notice for each provider, filter and list whose words `systems/` knows, as it would write it."""

from tests.unit.mail_bounces.example import Example

PROVIDERS = (
    Example(
        "Gmail",
        """\
Delivery to the following recipient failed permanently:

     lost@shop.example

Technical details of permanent failure:
Google tried to deliver your message, but it was rejected by the server for the recipient domain shop.example.

The error that the other server returned was:
550 5.1.1 <lost@shop.example>: unknown

----- Original message -----
""",
        status="5.1.1",
        code=550,
    ),
    Example(
        "Gmail",
        """\
There was a temporary problem delivering your message to slow@shop.example.
Gmail will retry for 46 more hours. You'll be notified if the delivery fails permanently.

The response was:
451 4.3.0 Try again
""",
        kind="delayed",
        status="4.3.0",
        code=451,
    ),
    Example(
        "Google Groups",
        """\
Hello no-reply@counterfoil.example,

We're writing to let you know that the group you tried to contact (lost) may not exist, or you may not
have permission to post messages to the group.
""",
        fields="Auto-Submitted: auto-replied\n",
    ),
    Example(
        "Yahoo",
        """\
Sorry, we were unable to deliver your message to the following address.

<lost@shop.example>:
554: delivery error: dd This user doesn't have a shop.example account

--- Below this line is a copy of the message.
""",
        code=554,
    ),
    Example(
        "Mail.ru",
        """\
Это письмо создано автоматически сервером Mail.Ru, отвечать на него не нужно.

\u041a сожалению, Ваше письмо не может быть доставлено одному или нескольким получателям:

  lost@shop.example
    host mx.shop.example [192.0.2.7]: 550 5.1.1 unknown
""",
        fields="Auto-Submitted: auto-replied\n",
        status="5.1.1",
        code=550,
    ),
    Example(
        "Yandex",
        """\
Это письмо отправлено почтовым сервером yandex.ru.

\u041a сожалению, ваше письмо не может быть отправлено одному или нескольким получателям.

<lost@shop.example>: 550 5.7.1 No such user!
""",
        sender="mailer-daemon@yandex.ru",
        status="5.7.1",
        code=550,
    ),
    Example(
        "GMX, WEB.DE, IONOS",
        """\
The following address failed:

lost@shop.example:
SMTP error from remote server for RCPT TO command, host: mx.shop.example (192.0.2.7) reason: 550 unknown user
""",
        code=550,
    ),
    Example(
        "Zoho",
        """\
This message was created automatically by mail delivery software.

lost@shop.example Invalid Address, ERROR_CODE :550, ERROR_CODE :5.2.1 <lost@shop.example> disabled
""",
        sender="mailer-daemon@mail.zoho.example",
        status="5.2.1",
        code=550,
    ),
    Example(
        "Amazon WorkMail",
        """\
An error occurred while trying to deliver the mail to the following recipients:
lost@shop.example
""",
    ),
    Example(
        "SendGrid",
        """\
This is an automatically generated message from SendGrid.

I'm sorry to have to tell you that your message was not able to be
delivered to one of its intended recipients.

lost@shop.example : mx.shop.example:[192.0.2.7] : 550 5.1.1 unknown in RCPT TO
""",
        status="5.1.1",
        code=550,
    ),
    Example(
        "EZweb",
        """\
Each of the following recipients was rejected by a remote
mail server.

    Recipient: <lost@ezweb.example>
    >>> RCPT TO:<lost@ezweb.example>
    <<< 550 <lost@ezweb.example>: User unknown
""",
        sender="Postmaster@ezweb.example",
        code=550,
    ),
    Example(
        "au, KDDI",
        """\
Your mail sent on: Mon, 23 Nov 2026 10:00:00 +0900
     Could not be delivered to: <lost@dion.example>
     As their mailbox is full.
""",
        sender="no-reply@dion.example",
        subject="Mail",
    ),
    Example(
        "docomo",
        """\
次のあて先へのメッセージは、宛先のメールアドレスが見つかりませんでした。

<lost@docomo.example>
""",
        sender="info@mail.docomo.ne.jp",
        subject="ご連絡",
    ),
    Example(
        "Verizon",
        """\
Message could not be delivered to mobile.
Error: No valid recipients for this MM
""",
        sender="MMS Administrator <sysadmin@m01.vzwpix.example>",
    ),
    Example(
        "Facebook",
        """\
This message was created automatically by Facebook.

Sorry, your message couldn't be delivered to the following recipients:

<lost@shop.example>
Reason: RCP-P1 550 5.1.1 no such person
""",
        sender="mailer-daemon@mx.facebook.example",
        status="5.1.1",
        code=550,
    ),
    Example(
        "NetEase, QQ",
        """\
抱歉\uff0c您的邮件被退回来了。

无法发送到 lost@shop.example
退信原因\uff1a 550 Mailbox not found
""",
        sender="PostMaster@qq.com",
        code=550,
    ),
    Example(
        "Biglobe",
        """\
   ----- Non-delivered information -----
The number of messages in recipient's mailbox exceeded the local limit.
""",
        sender="postmaster@biglobe.example",
    ),
    Example(
        "X2",
        """\
Delivery failed: lost@shop.example
192.0.2.7 failed after I sent the message.
Remote host said[Response Message]: 554 5.4.14 Hop count exceeded
""",
        status="5.4.14",
        code=554,
    ),
    Example(
        "X3",
        """\
Delivery to the following recipients was aborted after 5.0 hour(s):

  * lost@shop.example

Routing: Could not find a gateway for lost@shop.example
""",
    ),
    Example(
        "X4",
        """\
Your mail message to the following address(es) could not be delivered. This
is a permanent error.

<lost@shop.example>:
child status 100... The mail folder is full.
""",
    ),
    Example(
        "X6",
        """\
We had trouble delivering your message. Full details follow:

The following recipients returned permanent errors: lost@shop.example. Reason: SMTP Server <192.0.2.7>
refused to accept your message (DATA), with the following error message: [554 5.4.6 Too many hops]
""",
        sender="mailer-daemon",
        fields="Auto-Submitted: auto-replied\n",
        status="5.4.6",
        code=554,
    ),
)
FILTERS = (
    Example(
        "MXLogic",
        """\
A message that you have sent could not be delivered to one or more
recipients.  This is a permanent error.  The following address failed:

  <lost@shop.example>: 550 5.1.1 <lost@shop.example>: User unknown

Included is a copy of the message header:
""",
        status="5.1.1",
        code=550,
    ),
    Example(
        "McAfee",
        """\
    --- The following addresses had delivery problems ---

<lost@shop.example>   (550 5.1.1 no such user)
""",
        sender="<>",
        status="5.1.1",
        code=550,
    ),
    Example(
        "MessageLabs",
        """\
This is the mail delivery agent at messagelabs.example.

I was unable to deliver your message to the following addresses:

lost@shop.example

Reason: 550 Invalid recipient
""",
        code=550,
    ),
    Example(
        "Mimecast",
        """\
This is a delivery failure notification message indicating that
an email you addressed to email address :
-- lost@shop.example

could not be delivered. The problem appears to be :
-- Recipient email address is possibly incorrect

Additional information follows :
-- 5.4.1 Recipient address rejected
""",
        sender="Postmaster <postmaster@shop.example>",
        status="5.4.1",
    ),
    Example(
        "MailMarshal",
        """\
Your message:
   Subject: Welcome

Could not be delivered because of

550 5.1.1 unknown

The following recipients were affected:
    lost@shop.example
""",
        sender="postmaster@shop.example",
        status="5.1.1",
        code=550,
    ),
    Example(
        "MailFoundry",
        """\
Unable to deliver message to: <lost@shop.example>
Delivery failed for the following reason:
Server mx.shop.example[192.0.2.7] failed with: 550 No such user

This has been a permanent failure.  No further delivery attempts will be made.
""",
        code=550,
    ),
    Example(
        "m-FILTER",
        """\
以下のメールアドレスへの送信に失敗しました。
lost@shop.example


-------server message
550 unknown user <lost@shop.example>

-------SMTP command
DATA
""",
        sender="POSTMASTER <postmaster@shop.example>",
        code=550,
    ),
    Example(
        "InterScan",
        """\
Sent <<< RCPT TO:<lost@shop.example>
Received >>> 550 5.1.1 <lost@shop.example>... unknown
""",
        sender='"InterScan MSS" <admin@shop.example>',
        status="5.1.1",
        code=550,
    ),
    Example(
        "SurfControl",
        """\
Your message could not be sent.
A transcript of the attempts to send the message follows.
The number of attempts made: 1
Addressed To: lost@shop.example

Failed to send to identified host,
lost@shop.example: [192.0.2.7], 550 unknown
--- Message non-deliverable.
""",
        sender="<>",
        code=550,
    ),
    Example(
        "fml",
        "You are not a member of this mailing list <cats@lists.example>.",
        sender="cats-admin@lists.example",
        subject="You no-reply@counterfoil.example are not member (cats ML)",
    ),
    Example(
        "Mailman",
        """\
You are not allowed to post to this mailing list, and your message has been
automatically rejected.
""",
        sender="cats-owner@lists.example",
        subject="Welcome",
    ),
    Example(
        "LISTSERV",
        "You are not authorized to send mail to the CATS list from your address.",
        sender="LISTSERV@lists.example",
        subject="Rejected posting to CATS@lists.example",
    ),
    Example(
        "ezmlm",
        "Sorry, only subscribers may post. If you are a subscriber, please use the address that you subscribed with.",
        sender="cats-help@lists.example",
        subject="Your mail",
    ),
)
