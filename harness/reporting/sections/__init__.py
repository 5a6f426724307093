"""The six steps of choosing a model, each a function from a ranking to a section of the report."""
