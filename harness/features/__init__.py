"""What fixed parts of networks compute: kept once, shared by jobs, seeds, processes and later sweeps."""
