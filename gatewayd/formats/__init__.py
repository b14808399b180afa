"""Payload formats: bytes in, rows or a reason out. Pure; one format per module."""
