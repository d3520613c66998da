"""Gateways: who takes our mails. `protocol` says what one is, `smtp` is the real one, `failover` puts them in order."""
