"""Cut trunks: any part and the rest behind it are the trunk, for every family, or the trunk is not cut there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.backbones.backbone import Backbone
from harness.config import Features
from harness.features.cut import CutTrunk, cut, difference
from harness.features.layout import Activations
from harness.transfer.depth import parse_freeze
from tests.unit.tiny import images_of, own_backbone, random_backbone, settle

EXACT = 1e-5

# Small images, since what a cut must get right does not depend on their size.
POOLED = [
    ("alexnet", 64),
    ("vgg16", 32),
    ("resnet18", 32),
    ("resnet50", 32),
    ("resnet152", 32),
    ("inception", 80),
    ("densenet121", 32),
    ("mobilenetv2", 32),
    ("mobilenetv3", 32),
    ("squeezenet", 64),
    ("efficientnet", 32),
    ("tf_efficientnet_lite0", 32),
    ("vit", 32),
    ("googlenet", 64),
    ("shufflenet", 64),
    ("swin_tiny_patch4_window7_224", 64),
    ("convnext_tiny", 32),
]
MAPS = [("vgg16", 32), ("vgg19", 32), ("alexnet", 64), ("densenet121", 32), ("mobilenetv3", 32), ("vit", 32)]

FAMILIES = [(name, size, Features.pooled) for name, size in POOLED] + [(name, size, Features.map) for name, size in MAPS]


def _numbered(backbone: Backbone, depth: str) -> int:
    return parse_freeze(depth).num_frozen(len(backbone.blocks))


def _through(trunk: CutTrunk, images_BCHW: Tensor, *stops: int) -> list[Activations]:
    """Activations at each stop, each segment fed by the one before."""
    found: list[Activations] = [(images_BCHW,)]
    with torch.no_grad():
        for start, end in zip((0, *stops), stops, strict=False):
            found.append(trunk.segment(start, end)(*found[-1]))
    return found[1:]


@pytest.mark.parametrize(("name", "size", "features"), FAMILIES, ids=lambda value: str(getattr(value, "value", value)))
def test_both_sides_of_a_cut_are_the_trunk(name: str, size: int, features: Features) -> None:
    """Every boundary has a clean cut, and at each usual depth the part behind makes of the part before what the trunk makes of new images."""
    backbone = random_backbone(name, size, features)
    settle(backbone.trunk, images_of(backbone, 4, seed=2))
    trunk = cut(backbone)
    assert trunk.boundaries == list(range(len(backbone.blocks) + 1))
    images_BCHW = images_of(backbone, 3)
    with torch.no_grad():
        wanted_BD = backbone.trunk(images_BCHW)
    assert difference(wanted_BD[:1], wanted_BD[1:2]) > 1e-3  # else any images would do
    for depth in ("0.25", "0.5", "0.75", "all"):
        boundary = _numbered(backbone, depth)
        activations, (found_BD,) = _through(trunk, images_BCHW, boundary, trunk.last)
        assert all(len(part) == 3 for part in activations)
        assert difference(found_BD, wanted_BD) <= EXACT, depth


def test_all_segments_in_a_row_are_the_trunk() -> None:
    """From boundary to boundary, one block at a time."""
    backbone = random_backbone("test_resnet")
    settle(backbone.trunk, images_of(backbone, 4, seed=2))
    trunk, images_BCHW = cut(backbone), images_of(backbone, 5)
    *_, (found_BD,) = _through(trunk, images_BCHW, *trunk.boundaries)
    with torch.no_grad():
        assert difference(found_BD, backbone.trunk(images_BCHW)) <= EXACT


def test_images_do_not_influence_each_other() -> None:
    """The activations of an image are the same whoever is in the batch."""
    backbone = random_backbone("test_vit")
    trunk, images_BCHW = cut(backbone), images_of(backbone, 4)
    (together,) = _through(trunk, images_BCHW, 3)
    (alone,) = _through(trunk, images_BCHW[2:3], 3)
    assert difference(alone[0], together[0][2:3]) <= EXACT


def test_several_values_cross_inside_a_dense_block() -> None:
    """Every earlier layer of a dense block is read again by the later ones, and all of them cross; one value crosses between dense blocks."""
    backbone = random_backbone("densenet121", 32)
    trunk, images_BCHW = cut(backbone), images_of(backbone, 2)
    num_parts = [len(activations) for activations in _through(trunk, images_BCHW, *range(1, 9))]
    assert num_parts == [1, 2, 3, 4, 5, 6, 1, 2]


def test_values_made_of_shapes_cross_without_a_row() -> None:
    """What a transformer derives from shapes alone is the same for all images: only tokens are rows, and the number of images is free."""
    backbone = random_backbone("vit", 32)
    trunk = cut(backbone)
    for num_images in (1, 5):
        activations, (features_BD,) = _through(trunk, images_of(backbone, num_images), 6, trunk.last)
        assert [tuple(part.shape) for part in activations] == [(num_images, 5, 384)]
        assert features_BD.shape == (num_images, 384)


def test_where_least_crosses_is_chosen() -> None:
    """A pooling or activation that owns no tensor belongs before the boundary when it makes what crosses smaller."""
    trunk = cut(random_backbone("alexnet", 64))
    (activations,) = _through(trunk, torch.zeros(1, 3, 64, 64), 1)
    assert activations[0].shape == (1, 64, 7, 7)  # 15 x 15 before the pooling


def test_a_segment_shares_the_trunk_s_modules() -> None:
    """What trains in a segment is the network itself; another root with the same names can take its place."""
    backbone, other = random_backbone("test_resnet"), random_backbone("test_resnet")
    trunk, images_BCHW = cut(backbone), images_of(backbone, 2)
    own = dict(backbone.trunk.named_parameters())
    shared = {id(parameter) for start, end in ((0, 2), (2, trunk.last)) for parameter in trunk.segment(start, end).parameters()}
    assert shared == {id(parameter) for parameter in own.values()}
    with torch.no_grad():
        for parameter in other.trunk.parameters():
            parameter.mul_(0.5)
        (activations,) = trunk.segment(0, 2, other.trunk)(images_BCHW)
        (wanted,) = cut(other).segment(0, 2)(images_BCHW)
    assert torch.equal(activations, wanted)


def test_a_segment_of_nothing_gives_what_it_takes() -> None:
    """A segment that ends where it starts changes nothing, at the image, inside, and at the head."""
    backbone = random_backbone("test_resnet")
    trunk, images_BCHW = cut(backbone), images_of(backbone, 2)
    for boundary in (0, 2, trunk.last):
        (activations,) = _through(trunk, images_BCHW, boundary)
        (again,) = trunk.segment(boundary, boundary)(*activations)
        assert torch.equal(again, activations[0])


def test_the_nearest_boundary_is_not_behind() -> None:
    """Of a trunk with all boundaries it is the boundary itself; of one without, the image, until the head."""
    whole, depends = cut(random_backbone("test_resnet")), cut(own_backbone(_Depends(), ["first", "second"]))
    assert [whole.nearest(k) for k in range(whole.last + 1)] == list(range(whole.last + 1))
    assert [depends.nearest(k) for k in range(3)] == [0, 0, 2]


class _Pair(nn.Module):
    """Two convolutions; what happens between them is a test's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.between(x).mean((2, 3))
        return features

    def between(self, x: Tensor) -> Any:
        raise NotImplementedError


class _Depends(_Pair):
    """Asks the images what to do."""

    def between(self, x: Tensor) -> Any:
        x = self.first(x)
        return self.second(x) if x.sum() > 0 else self.second(-x)


class _OtherInTraining(_Pair):
    """Calls other things in train mode, which a recording of one mode cannot know."""

    def between(self, x: Tensor) -> Any:
        x = self.first(x)
        return self.second(x) if self.training else self.second(torch.relu(x))


class _CountsOthers(_Pair):
    """Mixes the images of a batch, so that no row inside belongs to one image."""

    def between(self, x: Tensor) -> Any:
        folded = self.first(x).flatten(0, 1)
        return self.second(folded.unflatten(0, (-1, 4)))


class _Counts(_Pair):
    """Uses the number of images behind the second block, and takes it before."""

    def between(self, x: Tensor) -> Any:
        x = self.first(x)
        num_images = x.shape[0]
        return self.second(x).reshape(num_images, 4, 16, 16)


class _Reshapes(_Pair):
    """Uses a whole shape behind the second block, and takes it before."""

    def between(self, x: Tensor) -> Any:
        x = self.first(x)
        shape = x.size()
        return self.second(x).reshape(shape)


class _Returns(_Pair):
    """Comes back to its first block after the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.third = nn.Conv2d(3, 3, 3, padding=1)

    def between(self, x: Tensor) -> Any:
        return self.third(self.first(self.second(self.first(x))))


@pytest.mark.parametrize("kind", [_Depends, _OtherInTraining])
def test_a_trunk_that_cannot_be_recorded_is_run_whole(kind: Callable[[], _Pair]) -> None:
    """Calls that depend on the images or on the mode leave the image and the head as boundaries, and the trunk runs as it is in both modes."""
    backbone = own_backbone(kind(), ["first", "second"])
    trunk = cut(backbone)
    assert trunk.boundaries == [0, 2]
    for seed in range(4):
        for mode in (True, False):
            backbone.trunk.train(mode)
            images_BCHW = images_of(backbone, 3, seed)
            *_, (found_BD,) = _through(trunk, images_BCHW, 0, 2, 2)
            assert torch.equal(found_BD, backbone.trunk(images_BCHW))


def test_the_trunk_is_left_in_eval_mode() -> None:
    """Recording looks at both modes, whichever the trunk was in."""
    for kind in (_Depends, _OtherInTraining, _Returns):
        trunk = kind().train()
        cut(own_backbone(trunk, [name for name, _ in trunk.named_children()]))
        assert not any(module.training for module in trunk.modules())


def test_rows_that_belong_to_no_image_do_not_cross() -> None:
    """A place where images and channels share a dimension is passed over; the place beside it serves."""
    backbone = own_backbone(_CountsOthers(), ["first", "second"])
    trunk, images_BCHW = cut(backbone), images_of(backbone, 3)
    activations, (found_BD,) = _through(trunk, images_BCHW, 1, 2)
    assert activations[0].shape == (3, 4, 16, 16)
    assert difference(found_BD, backbone.trunk(images_BCHW)) <= EXACT


@pytest.mark.parametrize("kind", [_Counts, _Reshapes])
def test_what_counts_the_images_does_not_cross_as_it_was(kind: Callable[[], _Pair]) -> None:
    """The number of images at the cut is not the number that a segment will see."""
    backbone = own_backbone(kind(), ["first", "second"])
    trunk = cut(backbone)
    assert trunk.boundaries == [0, 1, 2]
    for num_images in (1, 2, 5):
        images_BCHW = images_of(backbone, num_images)
        *_, (found_BD,) = _through(trunk, images_BCHW, 1, 2)
        assert difference(found_BD, backbone.trunk(images_BCHW)) <= EXACT


def test_a_block_that_is_used_again_is_not_cut_off() -> None:
    """Weights that run on both sides of a boundary would be fixed on one side and free on the other; the boundary behind both uses is clean."""
    backbone = own_backbone(_Returns(), ["first", "second", "third"])
    trunk, images_BCHW = cut(backbone), images_of(backbone, 3)
    assert trunk.boundaries == [0, 2, 3]
    *_, (found_BD,) = _through(trunk, images_BCHW, 2, 3)
    assert difference(found_BD, backbone.trunk(images_BCHW)) <= EXACT


def test_gradients_behind_a_cut_are_the_trunk_s() -> None:
    """The part behind a boundary, fed with cached activations, has the gradients that the whole network has."""
    backbone = random_backbone("test_resnet")
    settle(backbone.trunk, images_of(backbone, 4, seed=2))
    trunk, images_BCHW = cut(backbone), images_of(backbone, 3)
    free = {name: tensor for name, tensor in backbone.trunk.named_parameters() if name in set(backbone.blocks[-1].tensors)}
    backbone.trunk(images_BCHW).square().sum().backward()
    wanted = {name: tensor.grad.clone() for name, tensor in free.items() if tensor.grad is not None}
    assert wanted.keys() == free.keys()
    backbone.trunk.zero_grad(set_to_none=True)
    (activations,) = _through(trunk, images_BCHW, trunk.last - 1)
    (features_BD,) = trunk.segment(trunk.last - 1, trunk.last)(*activations)
    features_BD.square().sum().backward()
    for name, tensor in free.items():
        assert tensor.grad is not None
        assert difference(tensor.grad, wanted[name]) <= 1e-4, name


def test_the_last_boundary_is_what_the_head_sees() -> None:
    """One vector per image, as long as the backbone says."""
    backbone = random_backbone("test_vit")
    trunk = cut(backbone)
    ((features_BD,),) = _through(trunk, images_of(backbone, 2), trunk.last)
    assert features_BD.shape == (2, backbone.num_features)


def test_a_difference_is_relative_to_the_largest_value() -> None:
    """Half of the largest wanted value off is 0.5, whatever the scale."""
    wanted = torch.tensor([1.0, -4.0])
    assert difference(torch.tensor([1.0, -2.0]), wanted) == pytest.approx(0.5)
    assert difference(torch.tensor([1e3, -2e3]), wanted * 1e3) == pytest.approx(0.5)
    assert difference(torch.zeros(2), torch.zeros(2)) == 0.0
