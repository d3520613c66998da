"""The states of a mail and of an attempt, as data. docs/states.md is drawn from them; CHECKs hold the same rules."""

import enum
from collections.abc import Mapping

from .smtp_outcomes import Outcome


class MailState(enum.StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    SENT = "sent"
    BOUNCED = "bounced"
    UNCERTAIN = "uncertain"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"


class Phase(enum.StrEnum):
    CLAIMED = "claimed"
    TRANSMITTING = "transmitting"
    ENDED = "ended"


_WAITING = (MailState.QUEUED, MailState.DEFERRED)

# The next states, by cause. A mail that may have been sent (an earlier attempt ended `unknown`) becomes `uncertain` and
# never failed, expired or suppressed, hence that arrow out of the waiting states (P5).
MAIL_TRANSITIONS: Mapping[MailState, Mapping[str, frozenset[MailState]]] = {
    **{
        state: {
            "claim": frozenset([MailState.SENDING, MailState.SUPPRESSED]),
            "cancel": frozenset([MailState.CANCELED]),
            "expiry": frozenset([MailState.EXPIRED, MailState.FAILED, MailState.UNCERTAIN]),
            "erasure": frozenset([MailState.CANCELED]),
            "restore": frozenset([MailState.SENT]),
            # It waits again after an attempt that ended `unknown`: a DSN that quotes it proves that it had left.
            "DSN": frozenset([MailState.SENT, MailState.BOUNCED]),
        }
        for state in _WAITING
    },
    MailState.SENDING: {
        Outcome.ACCEPTED: frozenset([MailState.SENT]),
        Outcome.REFUSED: frozenset([MailState.FAILED, MailState.UNCERTAIN]),
        Outcome.TRY_LATER: frozenset([MailState.DEFERRED, MailState.FAILED, MailState.UNCERTAIN]),
        # Deferred: the gateway deduplicates and is asked again. Queued: the mail's policy is to send it again.
        Outcome.UNKNOWN: frozenset([MailState.UNCERTAIN, MailState.DEFERRED, MailState.QUEUED]),
        Outcome.GATEWAY_FAULT: frozenset([MailState.QUEUED, MailState.DEFERRED]),
        "restore": frozenset([MailState.SENT]),
    },
    MailState.UNCERTAIN: {
        "resolve": frozenset([MailState.SENT, MailState.QUEUED, MailState.CANCELED]),
        # A DSN that quotes it proves that it had left.
        "DSN": frozenset([MailState.SENT, MailState.BOUNCED]),
        "restore": frozenset([MailState.SENT]),
    },
    MailState.FAILED: {"retry": frozenset([MailState.QUEUED]), "restore": frozenset([MailState.SENT])},
    MailState.EXPIRED: {"retry": frozenset([MailState.QUEUED]), "restore": frozenset([MailState.SENT])},
    MailState.SENT: {"DSN": frozenset([MailState.BOUNCED])},
    MailState.BOUNCED: {},
    MailState.CANCELED: {},
    MailState.SUPPRESSED: {},
}

ATTEMPT_TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.CLAIMED: frozenset([Phase.TRANSMITTING, Phase.ENDED]),
    Phase.TRANSMITTING: frozenset([Phase.ENDED]),
    Phase.ENDED: frozenset(),
}
