"""From the queue to the gateway: what is claimed, sent and recorded."""
