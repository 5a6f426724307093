"""What people write without the harness: plain scripts that the benchmarks start as processes of their own."""
