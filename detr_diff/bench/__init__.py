"""Bench: two sides take turns, and how long each takes."""
