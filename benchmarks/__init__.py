"""Side-by-side timings; each module is a command that prints a small table with a ratio and writes JSON beside it."""
