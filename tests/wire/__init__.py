"""Tests of bytes and operations."""
