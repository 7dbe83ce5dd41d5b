"""One session over many connections: no sockets, threads or clocks; time and randomness are arguments."""
