"""Which candidate is best, which are tied with it, and which one to recommend. Reads a study, trains nothing, needs no torch."""
