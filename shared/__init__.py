"""Code that both services use. No module here knows either service."""
