"""The six steps of choosing a network, each a function from a ranking to a section of the report."""
