"""Rounds in which processes are killed at random."""
