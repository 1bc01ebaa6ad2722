"""One set of tests over every way that messages can go."""
