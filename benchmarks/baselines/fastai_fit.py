"""fastai's own frozen fit of a timm network, as its documentation does it: `vision_learner`, which freezes the body, and `fit_one_cycle`.

`python -m benchmarks.baselines.fastai_fit --backbone tf_efficientnet_lite0 --weights weights.pt --split split.json --epochs 10`

Everything not given below is fastai's default: batch size 64, Adam with a peak learning rate of 1e-3, its two-layer head, and
batch-norm layers of the frozen body that keep training.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import timm
from fastai.vision.all import (
    BalancedAccuracy,
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    Resize,
    accuracy,
    set_seed,
    vision_learner,
)


def read_split(path: Path) -> pd.DataFrame:
    """One row an image: path, label, is_valid."""
    split = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        (image, split["class_names"][label], is_valid)
        for name, is_valid in (("train", False), ("val", True))
        for image, label in split[name]
    ]
    return pd.DataFrame(rows, columns=["path", "label", "is_valid"])


def main() -> None:
    """Train, print every epoch, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", required=True, help="its state dict, saved by torch.save")
    parser.add_argument("--split", type=Path, required=True, help="JSON: class_names, and train and val as lists of [path, class id]")
    parser.add_argument("--epochs", type=int, required=True)
    args = parser.parse_args()

    set_seed(0)
    config: Any = timm.get_pretrained_cfg(args.backbone)
    images = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=Resize(config.input_size[-1]),
    )
    dls = images.dataloaders(read_split(args.split))
    # The pretrained weights come from the model hub by default; the file stands in for that download.
    learn = vision_learner(dls, args.backbone, metrics=[accuracy, BalancedAccuracy()], pretrained_cfg_overlay={"file": args.weights})
    learn.fit_one_cycle(args.epochs)

    names = learn.recorder.metric_names[1:]  # the first, `epoch`, has no value
    history = [dict(zip(names, record, strict=False)) for record in learn.recorder.values]  # noqa: PD011 (a list of fastai's, no frame)
    scores = {"val_accuracy": history[-1]["accuracy"], "val_balanced_accuracy": float(history[-1]["balanced_accuracy_score"])}
    print(json.dumps({**scores, "epochs": len(history), "best_val_accuracy": max(epoch["accuracy"] for epoch in history)}))


if __name__ == "__main__":
    main()
