"""The HTTP API, one file per resource. Routes read requests and write answers; other rooms decide."""
