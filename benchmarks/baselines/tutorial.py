"""The training loop of a transfer-learning tutorial, as people write it: float32, and the frozen model runs again every epoch.

`python -m benchmarks.baselines.tutorial --backbone tf_efficientnet_lite0 --weights weights.pt --split split.json --epochs 10`
"""

import argparse
import json
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.data.config import resolve_data_config
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

BATCH_SIZE = 64
NUM_WORKERS = 2
LR = 1e-3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files and their class ids, as torchvision's ImageFolder reads them."""

    def __init__(self, samples: list[tuple[str, int]], transform: transforms.Compose) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), label


def build(backbone: str, weights: str, num_classes: int) -> Any:
    """The pretrained timm network, all of it fixed but a new linear head."""
    # pretrained=True alone asks the model hub; the file stands in for that download.
    model: Any = timm.create_model(backbone, pretrained=True, pretrained_cfg_overlay={"file": weights}, num_classes=0)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.reset_classifier(num_classes)
    return model


def transform_for(model: Any) -> transforms.Compose:
    """Resize, centre crop and normalise with the numbers that the weights were trained with."""
    resolve: Any = resolve_data_config
    config = resolve(model=model)
    size = config["input_size"][-1]
    interpolation = transforms.InterpolationMode(config["interpolation"])
    return transforms.Compose([
        transforms.Resize(round(size / config["crop_pct"]), interpolation=interpolation),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize(config["mean"], config["std"]),
    ])  # fmt: skip


def train_epoch(
    model: nn.Module, loader: DataLoader[tuple[Tensor, int]], loss_fn: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[float, float]:
    """One pass over train; mean loss and accuracy."""
    model.train()
    loss_sum, num_right, num_seen = 0.0, 0, 0
    for batch in loader:
        images, labels = (tensor.to(DEVICE) for tensor in batch)
        optimizer.zero_grad()
        logits = model(images)
        loss = loss_fn(logits, labels)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(labels)
        num_right += int((logits.argmax(1) == labels).sum())
        num_seen += len(labels)
    return loss_sum / num_seen, num_right / num_seen


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader[tuple[Tensor, int]], loss_fn: nn.Module) -> tuple[float, float, float]:
    """One pass over val; mean loss, accuracy and balanced accuracy (mean recall over classes)."""
    model.eval()
    loss_sum = 0.0
    all_labels, all_predicted = [], []
    for batch in loader:
        images, labels = (tensor.to(DEVICE) for tensor in batch)
        logits = model(images)
        loss_sum += loss_fn(logits, labels).item() * len(labels)
        all_labels.append(labels)
        all_predicted.append(logits.argmax(1))
    labels, is_right = torch.cat(all_labels), torch.cat(all_labels) == torch.cat(all_predicted)
    recalls = [is_right[labels == label].float().mean() for label in set(labels.tolist())]
    return loss_sum / len(labels), is_right.float().mean().item(), torch.stack(recalls).mean().item()


def main() -> None:
    """Train, print every epoch, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", required=True, help="its state dict, saved by torch.save")
    parser.add_argument("--split", type=Path, required=True, help="JSON: class_names, and train and val as lists of [path, class id]")
    parser.add_argument("--epochs", type=int, required=True)
    args = parser.parse_args()

    torch.manual_seed(0)
    split = json.loads(args.split.read_text(encoding="utf-8"))
    model = build(args.backbone, args.weights, len(split["class_names"])).to(DEVICE)
    transform = transform_for(model)
    train_loader = DataLoader(ImageFiles(split["train"], transform), batch_size=BATCH_SIZE, shuffle=True, num_workers=NUM_WORKERS)
    val_loader = DataLoader(ImageFiles(split["val"], transform), batch_size=BATCH_SIZE, num_workers=NUM_WORKERS)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.get_classifier().parameters(), lr=LR)

    accuracies = []
    for epoch in range(1, args.epochs + 1):
        train_loss, train_accuracy = train_epoch(model, train_loader, loss_fn, optimizer)
        val_loss, val_accuracy, val_balanced_accuracy = evaluate(model, val_loader, loss_fn)
        accuracies.append(val_accuracy)
        print(
            f"epoch {epoch}: train loss {train_loss:.4f} accuracy {train_accuracy:.4f}, val loss {val_loss:.4f} accuracy {val_accuracy:.4f}"
        )
    scores = {"val_accuracy": val_accuracy, "val_balanced_accuracy": val_balanced_accuracy}
    print(json.dumps({**scores, "epochs": args.epochs, "best_val_accuracy": max(accuracies)}))


if __name__ == "__main__":
    main()
