"""Signs up, sends a mail, looks it up and lists what was sent, with clients that openapi-python-client has made.

Run by `tests/openapi/python_client.py`, which also checks its types: with SIGNUP_URL, MAIL_URL and OPERATOR_KEY, as
`make run` writes them into var/run.env.
"""

import os
import time

import counterfoil_mail
import counterfoil_signup
from counterfoil_mail.api.mails import get_mail, list_mails, look_up_mails, send_mail
from counterfoil_mail.models import Lookup, Mail, MailPage, MailRequest, MailState, ProblemDocument, Recipient
from counterfoil_mail.models import LookupResult as Found
from counterfoil_signup.api.signups import sign_up
from counterfoil_signup.api.users import get_user
from counterfoil_signup.models import SignupRequest, User, UserStatus

KEY = os.environ["OPERATOR_KEY"]
PATIENCE_SECONDS = 120.0

signup = counterfoil_signup.AuthenticatedClient(base_url=os.environ["SIGNUP_URL"], token=KEY)
mail = counterfoil_mail.AuthenticatedClient(base_url=os.environ["MAIL_URL"], token=KEY)

user = sign_up.sync(client=signup, body=SignupRequest(email="python@example.org", name="Åsa"))
assert isinstance(user, User), user
assert user.status is UserStatus.PENDING
assert get_user.sync(user.id, client=signup) == user

letter = MailRequest(
    request_id="generated-python", to=Recipient(email="python@example.org"), subject="Hello", text="From a client"
)
asked = send_mail.sync(client=mail, body=letter)
assert isinstance(asked, Mail), asked

deadline = time.monotonic() + PATIENCE_SECONDS
while True:
    looked_up = look_up_mails.sync(client=mail, body=Lookup(request_ids=["generated-python", "nothing"]))
    assert isinstance(looked_up, Found), looked_up
    assert looked_up.missing == ["nothing"]
    found = looked_up.found["generated-python"]
    assert found.id == asked.id
    if found.state is MailState.SENT:
        break
    assert time.monotonic() < deadline, found
    time.sleep(0.05)
assert found.sent_at is not None

sent = list_mails.sync(client=mail, request_id=["generated-python"])
assert isinstance(sent, MailPage), sent
assert sent.items == [found]
assert sent.next_cursor is None

letter.text = "Another text under the same request ID"
refused = send_mail.sync_detailed(client=mail, body=letter)
assert isinstance(refused.parsed, ProblemDocument), refused
assert refused.parsed.type_ == "/problems/request-id-reused"
assert refused.parsed.errors
assert refused.parsed.errors[0].pointer == "/text"

nobody_else = get_mail.sync(user.id, client=mail)
assert isinstance(nobody_else, ProblemDocument), nobody_else
assert nobody_else.status == refused.status_code.NOT_FOUND
