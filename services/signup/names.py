"""What this service calls its processes, channels and queues, and what the mail service calls it."""

WORKER = "signup-worker"
OUTBOX_CHANNEL = "signup_outbox"
ARQ_QUEUE = "counterfoil:signup"
# Signup's client name at the mail service: its key sees the mails of this client.
MAIL_CLIENT = "signup"
