"""Tests of drivers, sockets and processes."""
