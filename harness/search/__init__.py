"""The staged search: linear probes of all backbones, then training of the most promising candidates within a budget. Needs no torch."""
