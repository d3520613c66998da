"""The HTTP API: one file per resource. Requests are read and answered here, and nothing is decided."""
