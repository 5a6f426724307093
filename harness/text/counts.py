"""Counts in sentences, for whatever line a user reads."""

from harness.text.language import ENGLISH, language, say


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 job`, `2 jobs`; `0 entries` where `plural` says how, thousands separated.

    A language that has no plural has one entry in its catalogue, `{number} job`.
    """
    if language() != ENGLISH:
        sentence = f"{{number}} {noun}"
        return say(sentence, number=f"{number:,}")
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
