"""The big means: simulation, sweep, fuzz, differential, interop, bench, recording; and what `make` calls."""
