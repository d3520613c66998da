"""What several kinds of tests need: databases, scripted peers, real processes."""
