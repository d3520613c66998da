"""Delivery: claim mails from the queue, send them through a gateway, record the outcome."""
