"""How this machine computes: device and precision, cores, allocator, seeds, batches."""
