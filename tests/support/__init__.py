"""Support code for several kinds of tests: databases, scripted peers, real processes."""
