"""The benchmark `finetune`: which pictures are taken, how they are laid out, intervals over images and splits, and its table."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.baselines.given import MIN_EPOCHS, MIN_STEPS, Given
from benchmarks.finetune import BEST, PLAIN, TUNED, Effort, Round, as_record, chosen, table
from benchmarks.paired import Answers, difference, interval, score
from benchmarks.pictures import arrange, base_pictures
from benchmarks.side_by_side import BenchmarkError
from tests.unit.reporting.fake_study import make_row

CAT = {"image": "cat.png", "unified": "1F408", "category": "Animals & Nature", "has_img_google": True}
BLACK_CAT = CAT | {"image": "black-cat.png", "unified": "1F408-200D-2B1B"}
SKIN = CAT | {"image": "skin.png", "category": "Component"}
UNDRAWN = CAT | {"image": "undrawn.png", "has_img_google": False}


def _package(folder: Path, names: list[str]) -> Path:
    files = {"package/emoji.json": json.dumps([CAT, BLACK_CAT, SKIN, UNDRAWN]).encode()}
    files |= {f"package/img/google/64/{name}": name.encode() for name in names}
    path = folder / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_variants_of_a_picture_are_left_out() -> None:
    """Joined pictures, skin tones and pictures that the set does not have are no images of their own."""
    assert base_pictures([CAT, BLACK_CAT, SKIN, UNDRAWN]) == {"cat.png": "animals_nature"}


def test_pictures_lie_in_a_folder_per_class(tmp_path: Path) -> None:
    """What the package holds beside base pictures is not unpacked."""
    folder = arrange(_package(tmp_path, ["cat.png", "black-cat.png"]), tmp_path / "arranged")
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*.png")] == ["animals_nature/cat.png"]


def test_a_package_without_its_pictures_is_refused(tmp_path: Path) -> None:
    """The message names what is missing."""
    with pytest.raises(BenchmarkError, match=r"cat\.png"):
        arrange(_package(tmp_path, []), tmp_path / "arranged")


def _answers(seed: int, num_images: int = 200) -> Answers:
    """`right` never errs, `often` errs on the first fifth of the images, `coin` as often on others of its own."""
    labels_N = np.arange(num_images) % 4
    is_hard_N = np.arange(num_images) < num_images // 5
    often_N = np.where(is_hard_N, labels_N + 1, labels_N)
    coin_N = np.where(np.random.default_rng(seed).permutation(is_hard_N), labels_N + 1, labels_N)
    return Answers([f"{i}" for i in range(num_images)], labels_N, {"right": labels_N, "often": often_N, "coin": coin_N})


def test_scores_are_accuracy_and_mean_recall() -> None:
    """Balanced accuracy weighs classes equally."""
    answers = Answers(["a", "b", "c", "d"], np.array([0, 0, 0, 1]), {"zero": np.zeros(4, dtype=np.int64)})
    assert score(answers, "zero", is_balanced=False) == 0.75
    assert score(answers, "zero", is_balanced=True) == 0.5


@pytest.mark.parametrize("is_balanced", [False, True])
def test_intervals_hold_what_is_true(is_balanced: bool) -> None:
    """A real difference is told from none, and equal methods are not."""
    splits = [_answers(seed) for seed in range(3)]
    low, high = interval(splits, "right", "often", is_balanced=is_balanced)
    assert 0 < low < difference(splits, "right", "often", is_balanced=is_balanced) < high
    low, high = interval(splits, "often", "coin", is_balanced=is_balanced)
    assert low < 0 < high
    assert interval(splits, "often", "often", is_balanced=is_balanced) == (0, 0)


def test_an_image_of_several_splits_is_one_image() -> None:
    """The same images in three splits are no more evidence than in one."""
    one, three = ([_answers(0) for _ in range(num)] for num in (1, 3))
    assert interval(three, "right", "often", is_balanced=False) == pytest.approx(
        interval(one, "right", "often", is_balanced=False), abs=0.02
    )


def test_baselines_get_no_less_time() -> None:
    """Epochs are planned for a little more than the time given, and are never fewer than the recipe wants."""
    given = Given("a", Path(), (), {}, 64, flips=True, seconds=100, out=Path())
    assert given.num_epochs(epoch_s=3, epoch_steps=20) == 37
    assert given.num_epochs(epoch_s=300, epoch_steps=20) == MIN_EPOCHS
    assert given.num_epochs(epoch_s=300, epoch_steps=1) == MIN_STEPS


def test_the_table_says_which_fine_tunes_are_none() -> None:
    """The depth is chosen on val, of equals the cheapest; kept weights from before the first step are counted."""
    rows = [
        make_row(freeze, freeze=freeze, val_accuracy=value, chosen_epoch=epoch, primary_metric="accuracy")
        for freeze, value, epoch in (("all", 0.9, 3), ("0.5", 0.9, 0), ("none", 0.8, 2))
    ]
    assert chosen(rows).freeze == "all"
    answers = _answers(0)
    methods = {BEST: "right", TUNED: "often", PLAIN: "coin", "all": "right", "0.5": "often", "none": "coin"}
    predicted = {method: answers.predicted[which] for method, which in methods.items()}
    rounds = [Round(Answers(answers.images_N, answers.labels_N, predicted), {m: Effort(9, 10) for m in methods}, rows)]
    found = table("toy", rounds, as_record(rounds))
    assert "1 of 2" in found
    assert "plain recipe, 10 epochs" in found
    assert "-20.0 [" in found
