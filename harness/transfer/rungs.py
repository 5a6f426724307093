"""After how many epochs a job may be compared with others and stopped. Torch-free: the search plans with these, training follows them."""


def rungs(epochs: int) -> tuple[int, ...]:
    """Thirds of thirds of a full training, in epochs, ascending, at most three: 9 -> (1, 3, 9), 3 -> (1, 3), 1 -> (1,).

    A learning rate that is held falls after the last but one, so that what is compared at a rung is no training cut short in its decay.
    """
    return tuple(sorted({-(-epochs // divisor) for divisor in (9, 3, 1)}))


def search_epochs(epochs: int) -> int:
    """Epochs of the short training by which learning rates are compared: a third, so that three rates take as long as one full training."""
    return -(-epochs // 3)


def held_epochs(epochs: int) -> int:
    """Epochs before a held learning rate falls: up to the last but one rung; none where there is only one, so that every training ends low."""
    return 0 if len(rungs(epochs)) == 1 else rungs(epochs)[-2]
