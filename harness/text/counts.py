"""Counts in sentences, for whatever line a user reads. Imports nothing of the harness."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 job`, `2 jobs`; `0 entries` where `plural` says how, thousands separated."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
