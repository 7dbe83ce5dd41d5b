"""The wire: bytes in, values out. It knows no sessions, sockets, threads or clocks."""
