"""Nouns: the frozen values that travel between the steps."""
