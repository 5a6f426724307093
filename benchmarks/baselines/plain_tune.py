"""A plain good recipe in plain torch: every layer of a timm network is trained, and the last epoch is kept.

AdamW, one cycle up and down, label smoothing, random resized crops and flips: what careful people write without a library for it. Nothing is chosen on
val. The number of epochs is fixed before training, so that it takes the time given.

`python -m benchmarks.baselines.plain_tune --backbone tf_efficientnet_lite0 --weights weights.pt --split split.json --size 128 --out test.npy`
"""

from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.baselines.given import Given, give_back, read_arguments, seconds
from benchmarks.baselines.tutorial import ImageFiles

BATCH_SIZE = 32
PEAK_LR = 1e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
CROP_AREA = (0.5, 1.0)
"""Share of the picture that a random crop keeps."""


class Fit:
    """One training under way."""

    def __init__(self, given: Given) -> None:
        torch.manual_seed(0)
        self.given = given
        # pretrained=True alone asks the model hub; the file stands in for that download.
        network: Any = timm.create_model(
            given.backbone, pretrained=True, pretrained_cfg_overlay={"file": str(given.weights)}, num_classes=0
        )
        network.reset_classifier(len(given.classes))
        self.network: nn.Module = network.to(memory_format=torch.channels_last)

    def train(self, epochs: int) -> None:
        """Train every layer for so many epochs."""
        loader = self._loader("train")
        optimizer = torch.optim.AdamW(self.network.parameters(), PEAK_LR, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=epochs * len(loader))
        loss_fn = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
        self.network.train()
        for _ in range(epochs):
            for images, labels in loader:
                optimizer.zero_grad()
                loss_fn(self.network(_laid_out(images)), labels).backward()
                optimizer.step()
                schedule.step()

    @torch.no_grad()
    def predict(self, split: str) -> Tensor:
        """Class ids."""
        self.network.eval()
        return torch.cat([self.network(_laid_out(images)).argmax(1) for images, _ in self._loader(split)])

    def _loader(self, split: str) -> DataLoader[tuple[Tensor, int]]:
        is_train = split == "train"
        samples = ImageFiles(self.given.images[split], self._transform(is_train=is_train))
        return DataLoader(samples, BATCH_SIZE, shuffle=is_train, drop_last=is_train, num_workers=2)

    def _transform(self, *, is_train: bool) -> transforms.Compose:
        resolve: Any = resolve_data_config
        config, size = resolve(model=self.network), self.given.size
        interpolation = transforms.InterpolationMode(config["interpolation"])
        whole = [transforms.Resize(round(size / config["crop_pct"]), interpolation=interpolation), transforms.CenterCrop(size)]
        random = [transforms.RandomResizedCrop(size, CROP_AREA, interpolation=interpolation)]
        random += [transforms.RandomHorizontalFlip()] if self.given.flips else []
        return transforms.Compose(
            [*(random if is_train else whole), transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])]
        )


def _laid_out(images: Tensor) -> Tensor:
    return images.to(memory_format=torch.channels_last)


def main() -> None:
    """Train, predict, end with one line of JSON."""
    given = read_arguments()
    epoch_s = seconds(lambda: Fit(given).train(1))
    epochs, fit = given.num_epochs(epoch_s, max(1, len(given.images["train"]) // BATCH_SIZE)), Fit(given)
    train_s = seconds(lambda: fit.train(epochs))
    give_back(given, fit.predict("test").numpy(), epochs, train_s)


if __name__ == "__main__":
    main()
