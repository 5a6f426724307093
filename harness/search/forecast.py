"""How long the rest of a staged search will take, with a range: legs that are known, and those of contenders nobody can name yet.

Asked by `staged` before every rung and every leg; stands on the predictions of single legs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from harness.search.predicted_cost import NOTHING, Prediction, total
from harness.search.promotion import Entrant, max_tied, num_promoted

PredictSeconds = Callable[[str, int, int], Prediction]
"""Time that a contender takes from one number of epochs to another."""


@dataclass(slots=True)
class Forecast:
    """The time side of a search."""

    predict_s: PredictSeconds
    stops: tuple[int, ...]
    """Epochs that each rung ends at; rung 0 takes probes from none to all of theirs, and rung 1 starts from none too."""
    rung: int = 0
    """Where the search is."""
    reached: dict[str, int] = field(default_factory=dict)
    """Epochs that a contender has behind it."""
    safe: set[str] = field(default_factory=set)
    """Backbones that will reach the last rung."""
    known: dict[tuple[str, int, int], Prediction] = field(default_factory=dict)
    """Predicted since the last measurement."""

    def measured(self, name: str, epochs: int) -> None:
        """A contender has come so far, so that predictions are others now."""
        self.reached[name] = epochs
        self.known.clear()

    def leg(self, entrant: Entrant, rung: int) -> Prediction:
        """One contender through one rung: from where it is now, or from the rung before one that is still to come."""
        before = 0 if rung <= 1 else self.stops[rung - 1]
        return self._between(entrant.name, self.reached.get(entrant.name, 0) if rung == self.rung else before, self.stops[rung])

    def rest(self, name: str) -> Prediction:
        """One contender to the end, from where it is now."""
        return self._between(name, self.reached.get(name, 0), self.stops[-1])

    def whole(self, name: str) -> Prediction:
        """One contender with all its epochs, from the start."""
        return self._between(name, 0, self.stops[-1])

    def this(self, rung: int, entrants: Sequence[Entrant]) -> Prediction:
        """One rung."""
        return total(self.leg(entrant, rung) for entrant in entrants)

    def later(self, rung: int, entrants: Sequence[Entrant]) -> Prediction:
        """What follows a rung with these entrants. Neighbours are close, so ties are expected; anyone may get there, at the mean of their times."""
        found, num = NOTHING, len(entrants)
        num_safe = len({entrant.backbone for entrant in entrants} & self.safe)
        for after in range(rung + 1, len(self.stops)) if entrants else ():
            least, likely = num_promoted(num), num_promoted(num) + max_tied(num)
            legs = [self.leg(entrant, after) for entrant in entrants]
            low_s, high_s = sorted(leg.low_s for leg in legs), sorted((leg.high_s for leg in legs), reverse=True)
            num, most = min(num, max(likely, num_safe)), min(num, likely + num_safe)
            found += Prediction(num * sum(leg.value_s for leg in legs) / len(legs), sum(low_s[:least]), sum(high_s[:most]))
        return found

    def needed_s(self, rung: int, entrants: Sequence[Entrant]) -> float:
        """For a rung and all later ones, with room for the leg that may err most, as none starts that might not end in time."""
        legs = [self.leg(entrant, rung) for entrant in entrants]
        expected = total(legs) + self.later(rung, entrants)
        return expected.value_s + max((leg.high_s - leg.value_s for leg in legs), default=0.0)

    def filled(self, planned: Prediction, waiting: Sequence[str], left_s: float | None) -> Prediction:
        """What a search takes that ends with its plan or, where there is a limit, goes on with whoever still fits into what is left.

        Args:
            planned: this rung and all later ones.
            waiting: contenders that are not complete.
            left_s: until the limit; None: there is none.
        """
        if left_s is None or not waiting:
            return planned
        rests = [self.rest(name) for name in waiting]
        everyone = total(rests)
        # Nobody is found for the last seconds: for less than the shortest takes, or than most do if the short ones are done by then.
        ends_s = min(left_s - min(rest.high_s for rest in rests) / 2, everyone.value_s)
        if ends_s <= planned.value_s:
            return replace(planned, high_s=max(planned.value_s, min(planned.high_s, left_s)))
        return Prediction(ends_s, max(min(planned.low_s, ends_s), ends_s - everyone.high_s / len(rests)), max(ends_s, left_s))

    def _between(self, name: str, start: int, stop: int) -> Prediction:
        key = (name, start, stop)
        if key not in self.known:
            self.known[key] = self.predict_s(name, start, stop)
        return self.known[key]
