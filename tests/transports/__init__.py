"""One set of tests, run over every transport."""
