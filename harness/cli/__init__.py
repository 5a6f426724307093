"""The border to Hydra: what is typed, what it means, what is refused, and how a command ends."""
