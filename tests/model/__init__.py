"""A model of claim, lease, fence, transmitting, crash, rescue and resend, and its check (docs/model.md)."""
