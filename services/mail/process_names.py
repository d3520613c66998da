"""Names of this service's processes, channels and queues."""

WORKER = "mail-worker"
QUEUE_CHANNEL = "mail_queue"
ARQ_QUEUE = "counterfoil:mail"
