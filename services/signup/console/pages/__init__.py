"""One module for each room of the console. A page reads, closes its transaction, and only then calls another server."""
