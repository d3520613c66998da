"""Names of signup's processes, channels and queues, and its client name at the mail service."""

WORKER = "signup-worker"
OUTBOX_CHANNEL = "signup_outbox"
ARQ_QUEUE = "counterfoil:signup"
# Signup's client name at the mail service: its key gives access to this client's mails only.
MAIL_CLIENT = "signup"
