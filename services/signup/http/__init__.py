"""How the outside speaks with signup: one file per resource. Reads requests, calls `accounts`, writes answers."""
