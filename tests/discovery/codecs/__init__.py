"""Formats: each against its own words, and with what other frameworks write."""
