"""Notices of filters in front of a mail server, and of mailing lists. An example of each is a test."""

from .system import system

FILTERS = (
    system("MXLogic", r"A message that you have sent could not be delivered|The following address(?:es)? failed:"),
    system("McAfee", r"(?<!-)-{2,}+ ?The following addresses had delivery problems"),
    system(
        "MessageLabs",
        r"This is the mail delivery agent at|I was unable to deliver your message to the following addresses",
    ),
    system("Mimecast", r"This is a delivery failure notification message"),
    system("MailMarshal", r"Could not be delivered because of|The following recipients were affected"),
    system("MailFoundry", r"^Unable to deliver message to: <|Delivery failed for the following reason"),
    system("m-FILTER", r"^-+ ?server message\b"),
    system(
        "InterScan", r"Message from InterScan|^Sent <<< |^Received >>> [45]|Unable to deliver message to <[^\n]{1,320}>"
    ),
    system("SurfControl", r"A transcript of the attempts to send the message follows|--- ?Message non-deliverable"),
)
LISTS = (
    system("fml", r"^You(?: \S{1,320})? are not (?:a )?member of this mailing list"),
    system(
        "Mailman",
        r"You are not allowed to post to this (?:mailing )?list|has been rejected[^\n]{0,40}by the list moderator",
    ),
    system(
        "LISTSERV",
        r"Your message is being returned to you unprocessed|You are not authorized to send mail to the \S+ list",
    ),
    system("ezmlm", r"^Sorry, only subscribers may post|must be sent to an? \S{1,320} subscriber"),
)
