"""One file for each kind of effect, with its own peer, its own verdicts and nothing of the others."""
