"""Ask Counterfoil for mails and signups, and follow what happens to them.

    with Mail("https://mail.example", api_key=key) as mail:
        mail.send(request_id=request_id("welcome", user.id), to=user.email, template="welcome",
                  variables={"name": user.name})

`AsyncMail` and `AsyncSignup` are the same on asyncio. Every error is a CounterfoilError (`errors.py` has the tree).
"""

from . import errors
from .errors import ApiError, CounterfoilError, TransportError
from .mail import AsyncMail, Mail
from .mail_fields import Attachment, MailFields, MailFilters, NewMail, Recipient
from .problems import FieldError, Problem
from .records import BatchResult, Change, Failure, LookUp, LostRecord, MailRecord, SignedUp, User
from .request_ids import request_id
from .retrying import Repeat, Retry, Timing
from .signup import AsyncSignup, Signup
from .signup_plans import SignUpFields
from .version import __version__
from .webhooks import Event, Webhook

__all__ = [
    "ApiError",
    "AsyncMail",
    "AsyncSignup",
    "Attachment",
    "BatchResult",
    "Change",
    "CounterfoilError",
    "Event",
    "Failure",
    "FieldError",
    "LookUp",
    "LostRecord",
    "Mail",
    "MailFields",
    "MailFilters",
    "MailRecord",
    "NewMail",
    "Problem",
    "Recipient",
    "Repeat",
    "Retry",
    "SignUpFields",
    "SignedUp",
    "Signup",
    "Timing",
    "TransportError",
    "User",
    "Webhook",
    "__version__",
    "errors",
    "request_id",
]
