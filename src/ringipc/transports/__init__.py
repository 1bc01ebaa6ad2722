"""Ways for a message to travel where memory cannot be shared."""
