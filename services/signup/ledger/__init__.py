"""The books kept in order: who is alive, and room for the months to come."""
