"""How far a job is trained: what a search compares candidates by before it trains them whole. Torch-free: the search plans with these."""

from enum import IntEnum


class Rung(IntEnum):
    """Fidelity levels of a staged search. Every one ends with a whole schedule, so that no score is of a training cut short."""

    probe = 0  # the head alone, on the frozen backbone
    short = 1  # a third of the epochs at one learning rate
    whole = 2  # the recipe: the learning rates compared by short trainings, then all epochs at the best


def short_epochs(epochs: int) -> int:
    """Epochs of the short training by which learning rates are compared: a third, so that three rates take as long as one full training."""
    return -(-epochs // 3)


def held_epochs(epochs: int) -> int:
    """Epochs before a held learning rate falls: a third; none of a single epoch, so that every training ends low."""
    return short_epochs(epochs) if epochs > 1 else 0
