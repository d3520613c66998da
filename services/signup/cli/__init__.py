"""The commands of `python -m services.signup` beyond `api`, `worker` and `keys`: what operators type."""
