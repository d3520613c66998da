"""Mail systems whose notices are free words, known by what is always in them."""
