"""Sockets, threads, event loops and processes: the code that performs the actions of a session core."""
