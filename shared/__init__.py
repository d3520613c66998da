"""What both services really need, and nothing else. Every module here is used by both; none knows either service."""
