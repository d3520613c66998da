"""The HTTP layer, one file per resource: it reads requests, calls use cases in the other rooms and writes answers."""
