"""The operator commands of `python -m services.signup`, besides `api`, `worker` and `keys`."""
