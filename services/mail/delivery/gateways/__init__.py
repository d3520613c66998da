"""Gateways: `protocol` is the interface, `smtp_gateway` implements it, `failover` tries gateways in order."""
