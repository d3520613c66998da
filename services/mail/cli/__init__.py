"""The operator commands of `python -m services.mail`, besides `api`, `worker` and `keys`."""
