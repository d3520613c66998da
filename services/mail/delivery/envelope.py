"""The SMTP envelope of a mail: to whom it goes, and where bounces go."""

from .gateways.protocol import Envelope
from .message import Content, UnbuildableError, envelope_address, needs_smtputf8


def envelope_of(content: Content, bounce_domain: str = "") -> Envelope:
    """Bounces go to the From address, or with `bounce_domain` to an address there that names the mail.

    That address needs no signature: the mail ID has 74 random bits, and only the recipient learns it.

    Raises:
        UnbuildableError: an address is invalid.
    """
    try:
        sender, sender_utf8 = envelope_address(content.sender_email)
        recipient, recipient_utf8 = envelope_address(content.to_email)
    except ValueError as error:
        raise UnbuildableError(str(error)) from error
    if bounce_domain:
        sender, sender_utf8 = f"bounce+{content.mail_id.hex}@{bounce_domain}", False
    utf8 = sender_utf8 or recipient_utf8 or needs_smtputf8(content)
    return Envelope(sender, recipient, utf8, content.mail_id)
