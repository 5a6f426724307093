"""Rules for every download of weights and data sets: how long it may take, whether the server answers, and why it failed."""
