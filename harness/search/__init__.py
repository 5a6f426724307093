"""The staged search: every backbone is probed, the most promising are trained, within a budget. Needs no torch."""
