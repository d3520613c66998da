"""One file for each kind of effect, with its own peer and verdicts. No effect knows another."""
