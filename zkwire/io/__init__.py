"""Sockets, threads, event loops and processes: what carries out the actions of a session core."""
