"""Clients of others on the embedded server and on a real one: `make interop`.

Each scenario is run on both; what it notes down are plain values, and they must be the same. Nothing here knows what a
right answer is: the real server does.
"""
