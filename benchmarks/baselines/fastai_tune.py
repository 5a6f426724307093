"""fastai's own fine-tuning of a timm network, as its documentation does it: `vision_learner` and `fine_tune`.

One epoch of the new head with the body frozen, then every layer, with one cycle each, discriminative rates and fastai's own augmentation. All not given
below is fastai's default; the last epoch is kept. The number of epochs is fixed before training, so that it takes the time given.

`python -m benchmarks.baselines.fastai_tune --backbone tf_efficientnet_lite0 --weights weights.pt --split split.json --size 128 --out test.npy`
"""

from typing import Any

import pandas as pd
from fastai.vision.all import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    Resize,
    accuracy,
    aug_transforms,
    set_seed,
    vision_learner,
)

from benchmarks.baselines.given import Given, give_back, read_arguments, seconds

_ROOM = 1.25
"""Pictures are loaded this much larger than the input, as fastai's augmentation crops on its way."""
_MIN_AREA = 0.75


def frame(given: Given) -> pd.DataFrame:
    """One row a train or val image: path, label, is_valid."""
    rows = [(path, label, split == "val") for split in ("train", "val") for path, label in given.images[split]]
    return pd.DataFrame(rows, columns=["path", "label", "is_valid"])


def learner(given: Given) -> Any:
    """A learner with a new head on the pretrained body."""
    set_seed(0)
    images = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(range(len(given.classes))))),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=Resize(round(given.size * _ROOM)),
        batch_tfms=aug_transforms(size=given.size, min_scale=_MIN_AREA, do_flip=given.flips),
    )
    dls = images.dataloaders(frame(given))
    # The pretrained weights come from the model hub by default; the file stands in for that download.
    return vision_learner(dls, given.backbone, metrics=[accuracy], pretrained_cfg_overlay={"file": str(given.weights)})


def one_epoch(given: Given) -> None:
    """Train every layer for one epoch, only to see how long it takes."""
    trial = learner(given)
    trial.unfreeze()
    trial.fit_one_cycle(1)


def main() -> None:
    """Train, print every epoch, predict, end with one line of JSON."""
    given = read_arguments()
    epoch_s = seconds(lambda: one_epoch(given))
    learn = learner(given)
    epochs = given.num_epochs(epoch_s, max(1, len(learn.dls.train)))
    train_s = seconds(lambda: learn.fine_tune(epochs))
    test = learn.dls.test_dl([path for path, _ in given.images["test"]])
    give_back(given, learn.get_preds(dl=test)[0].argmax(dim=1).numpy(), epochs, train_s)


if __name__ == "__main__":
    main()
