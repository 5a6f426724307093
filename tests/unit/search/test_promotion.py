"""Who enters a rung: which backbones are kept after the probes, which contenders are promoted, and what for."""

from collections.abc import Collection, Sequence

from harness.search.promotion import Backbone, Entrant, Scored, Why, keep_backbones, promote, protected


def backbones(
    probes: Sequence[float | None], priors: Sequence[float | None] | None = None, families: Sequence[str | None] | None = None
) -> list[Backbone]:
    """Backbones 0, 1, ... with these probe scores, priors and families."""
    return [
        Backbone(
            name=str(k),
            family=families[k] if families else None,
            prior=priors[k] if priors else None,
            probe=f"{k} all",
            score=score,
        )
        for k, score in enumerate(probes)
    ]


def nobody(name: str, others: Sequence[str]) -> Collection[str]:
    """Nothing is tied."""
    return ()


def kept(found: Sequence[tuple[Backbone, Why | None]]) -> dict[str, Why]:
    """Names of those that are kept, with why."""
    return {backbone.name: why for backbone, why in found if why is not None}


def names(entrants: Sequence[Entrant]) -> list[str]:
    """In order."""
    return [entrant.name for entrant in entrants]


def falling(num: int) -> list[float | None]:
    """Scores from the best to the worst."""
    return [1.0 - k / 100 for k in range(num)]


def test_a_third_is_kept_or_half_below_ten() -> None:
    """Of twelve the best four, of eight the best four, of seven the best four."""
    for num, num_kept in ((12, 4), (8, 4), (7, 4)):
        assert list(kept(keep_backbones(backbones(falling(num)), nobody))) == [str(k) for k in range(num_kept)]


def test_all_are_returned_best_first() -> None:
    """The pruned ones come last, in their order, so that a whole search can go on with them."""
    found = keep_backbones(backbones([0.1, 0.9, 0.5, 0.7]), nobody)
    assert [backbone.name for backbone, _ in found] == ["1", "3", "2", "0"]
    assert [why is None for _, why in found] == [False, False, True, True]


def test_order_is_the_mean_rank_of_probe_and_prior() -> None:
    """A backbone that is second in both is before one that is first and last."""
    found = keep_backbones(backbones([0.9, 0.8, 0.7, 0.6], [0.1, 0.8, 0.7, 0.9]), nobody)
    assert next(iter(found))[0].name == "1"


def test_a_missing_prior_ranks_last_among_priors() -> None:
    """Unknown is no reason to be tried first; when all are unknown, probes decide alone."""
    found = [backbone.name for backbone, _ in keep_backbones(backbones([0.9, 0.8, 0.7], [None, 0.5, 0.4]), nobody)]
    assert found == ["1", "0", "2"]
    alone = [backbone.name for backbone, _ in keep_backbones(backbones([0.7, 0.9, 0.8]), nobody)]
    assert alone == ["1", "2", "0"]


def test_a_failed_probe_ranks_last_and_can_be_kept_by_its_prior() -> None:
    """Nothing is known against the backbone but that."""
    found = kept(keep_backbones(backbones([None, 0.9, 0.8, 0.7, 0.6, 0.5], [1.0, 0.5, 0.4, 0.3, 0.2, 0.1]), nobody))
    assert found["0"] is Why.protected


def test_whoever_is_tied_with_the_last_that_is_kept_is_kept() -> None:
    """Ties are asked of the probe of the last that is kept, against probes of those behind it."""
    asked = []

    def tied(name: str, others: Sequence[str]) -> Collection[str]:
        asked.append((name, list(others)))
        return {"9 all"}

    found = kept(keep_backbones(backbones(falling(12)), tied))
    assert found["9"] is Why.tied
    assert asked == [("3 all", [f"{k} all" for k in range(4, 12)])]


def test_an_equal_mean_rank_is_a_tie() -> None:
    """The cut falls between ranks, not between backbones of the same rank."""
    found = kept(keep_backbones(backbones([0.9, 0.8, 0.8, 0.6]), nobody))
    assert found == {"0": Why.protected, "1": Why.protected, "2": Why.tied}


def test_the_best_of_every_missing_family_is_kept() -> None:
    """One transformer at least goes on among many convolutional networks; of no family is no family."""
    families = ["cnn"] * 8 + [None, "vit", "vit", None]
    assert {
        name: why for name, why in kept(keep_backbones(backbones(falling(12), families=families), nobody)).items() if int(name) > 3
    } == {"9": Why.family}


def test_two_best_probes_and_the_best_prior_are_protected() -> None:
    """However low the other evidence ranks them."""
    some = backbones([0.2, 0.9, 0.3, 0.8], [0.7, 0.1, 0.5, 0.2])
    assert protected(some) == {"1", "3", "0"}
    assert {name for name, why in kept(keep_backbones(some, nobody)).items() if why is Why.protected} == {"1", "3", "0"}
    assert protected(backbones([None, None])) == set()


def contenders(*scores: float) -> list[Scored]:
    """One of each backbone, named by its place."""
    return [Scored(str(k), f"backbone {k}", score) for k, score in enumerate(scores)]


def test_a_third_is_promoted_best_first() -> None:
    """Rounded up: of seven, three."""
    assert names(promote(contenders(0.1, 0.7, 0.2, 0.6, 0.3, 0.5, 0.4), (), nobody)) == ["1", "3", "5"]


def test_ties_with_the_last_promoted_go_on_up_to_half_as_many() -> None:
    """Of twelve, four by rank; of all others that are tied with the fourth, the two best."""

    def tied(name: str, others: Sequence[str]) -> Collection[str]:
        assert name == "3"
        return set(others)

    found = promote(contenders(*(1 - k / 100 for k in range(12))), (), tied)
    assert names(found) == ["0", "1", "2", "3", "4", "5"]
    assert [entrant.why for entrant in found] == [Why.protected, *[Why.ranked] * 3, *[Why.tied] * 2]


def test_only_ties_are_promoted_beyond_the_third() -> None:
    """The better rank of someone who is not tied does not help."""
    found = promote(contenders(*(1 - k / 100 for k in range(12))), (), lambda *_: {"7"})
    assert names(found) == ["0", "1", "2", "3", "7"]


def test_protected_backbones_go_on_with_their_best_depth() -> None:
    """One depth each, whatever its rank, beyond the limit on ties."""
    scored = [*contenders(0.9, 0.8, 0.7, 0.6), Scored("deep", "safe", 0.1), Scored("shallow", "safe", 0.2)]
    found = promote(scored, {"safe", "not there"}, nobody)
    assert [(entrant.name, entrant.why) for entrant in found] == [("0", Why.protected), ("1", Why.ranked), ("shallow", Why.protected)]


def test_one_alone_is_promoted() -> None:
    """There is always somebody to go on with."""
    assert names(promote(contenders(0.5), (), nobody)) == ["0"]
