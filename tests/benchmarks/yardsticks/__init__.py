"""What our numbers are held against. Each runs as a process of its own."""
