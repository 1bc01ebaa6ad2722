"""Processes are killed at random."""
