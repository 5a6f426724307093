"""Names: aliases, tags, globs, and what is said when there is no such thing."""

import re
from dataclasses import replace

import pytest

from harness.backbones.catalog import ALIASES, TORCHVISION_FAMILIES, expand, pretrained_tags, resolve
from harness.backbones.imagenet import published_top1
from harness.backbones.spellings import timm_name
from harness.errors import BackboneError


@pytest.mark.parametrize(
    ("typed", "model", "family", "library"),
    [
        ("alexnet", "alexnet", "alexnet", "torchvision"),
        ("squeezenet", "squeezenet1_1", "squeezenet", "torchvision"),
        ("googlenet", "googlenet", "googlenet", "torchvision"),
        ("shufflenet", "shufflenet_v2_x1_0", "shufflenet", "torchvision"),
        ("vgg", "vgg16", "vgg", "timm"),
        ("vgg19", "vgg19", "vgg", "timm"),
        ("resnet", "resnet50", "resnet", "timm"),
        ("resnet18", "resnet18", "resnet", "timm"),
        ("inception", "inception_v3", "inception_v3", "timm"),
        ("densenet", "densenet121", "densenet", "timm"),
        ("mobilenet", "mobilenetv3_large_100", "mobilenetv3", "timm"),
        ("mobilenetv2", "mobilenetv2_100", "efficientnet", "timm"),
        ("mobilenetv3", "mobilenetv3_large_100", "mobilenetv3", "timm"),
        ("efficientnet", "efficientnet_b0", "efficientnet", "timm"),
        ("vit", "vit_small_patch16_224", "vision_transformer", "timm"),
    ],
)
def test_family_names_resolve(typed: str, model: str, family: str, library: str) -> None:
    """The plain name of every family stands for one architecture with published weights."""
    spec = resolve(typed)
    assert (spec.requested, spec.model, spec.family, spec.library) == (typed, model, family, library)
    assert spec.tag == pretrained_tags(model)[0]


def test_every_alias_has_published_weights() -> None:
    """No alias points at an architecture that exists only untrained."""
    assert [alias for alias in ALIASES if resolve(alias).tag is None] == []


def test_tag_is_pinned_or_defaulted() -> None:
    """A tag after the dot is kept, also after an alias; without one the library's default is taken."""
    assert resolve("resnet18.tv_in1k").tag == "tv_in1k"
    assert resolve("mobilenet.miil_in21k").tag == "miil_in21k"
    assert resolve("alexnet.IMAGENET1K_V1").tag == "IMAGENET1K_V1"
    assert resolve("resnet18").tag == "a1_in1k"
    assert resolve("mobilenetv3_large_075").tag is None


def test_name_of_an_earlier_timm_is_mapped() -> None:
    """A renamed architecture resolves to its present name and tag, and no warning escapes."""
    spec = resolve("vit_tiny_patch16_224_in21k")
    assert (spec.model, spec.tag) == ("vit_tiny_patch16_224", "augreg_in21k")


@pytest.mark.parametrize(("typed", "near"), [("resnet5", "resnet50"), ("squeeznet", "squeezenet"), ("VGGG16", "vgg16")])
def test_unknown_name_gets_did_you_mean(typed: str, near: str) -> None:
    """The error names what is near and the command that lists the family, on one line."""
    with pytest.raises(
        BackboneError, match=rf"backbone={typed}: unknown; did you mean .*{near}.*\? See: python -m harness\.backbones '\w+\*'$"
    ):
        resolve(typed)


def test_unknown_tag_lists_the_tags() -> None:
    """A wrong tag is answered with the right ones."""
    with pytest.raises(BackboneError, match=r"resnet18 has no weights 'in22k'; its tags: a1_in1k, .*tv_in1k"):
        resolve("resnet18.in22k")
    with pytest.raises(BackboneError, match="never published"):
        resolve("mobilenetv3_large_075.in1k")


def test_globs_expand_sorted() -> None:
    """A glob gives matching architectures of both libraries, sorted; with a dot, tags; a plain name gives itself."""
    assert expand("tf_efficientnet_lite*") == [f"tf_efficientnet_lite{i}" for i in range(5)]
    assert expand("squeezenet*") == ["squeezenet1_0", "squeezenet1_1"]
    assert expand("resnet18.*v_in1k") == ["resnet18.tv_in1k"]
    assert expand("vit") == ["vit"]
    assert "mobilenet" not in expand("mobilenet*")


def test_glob_without_match_suggests() -> None:
    """A glob that matches nothing is an error with suggestions, not an empty sweep."""
    with pytest.raises(BackboneError, match=r"backbone=rasnet50\*: no architecture matches; did you mean .*resnet50"):
        expand("rasnet50*")


def test_published_accuracy_is_by_exact_weights() -> None:
    """The figure belongs to one tag at the size it was trained at; near misses have none."""
    assert published_top1("resnet18", "a1_in1k") == pytest.approx(0.71504)  # 224 pixels; 0.73164 is at 288
    assert published_top1("tf_efficientnet_lite0", "in1k") == pytest.approx(0.74846)
    assert published_top1("tf_efficientnet_lite0", None) is None
    assert published_top1("resnet18", "mine") is None


@pytest.mark.parametrize("prefix", ["timm/", "hf-hub:timm/", "hf_hub:timm/"])
def test_names_of_repositories_are_names(prefix: str) -> None:
    """A backbone copied from its page on the hub is the one that timm's own name means, tag, alias and glob included."""
    assert resolve(f"{prefix}resnet50.a1_in1k") == replace(resolve("resnet50.a1_in1k"), requested=f"{prefix}resnet50.a1_in1k")
    assert resolve(f"{prefix}vit").model == resolve("vit").model
    assert expand(f"{prefix}test_res*") == expand("test_res*")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("vit_b_16", "backbone=vit_base_patch16_224."),
        ("vit_l_32.IMAGENET1K_V1", "backbone=vit_large_patch32_224."),
        ("swin_v2_t", "backbone=swinv2_tiny_window8_256."),
        ("regnet_y_16gf.IMAGENET1K_V2", "backbone=regnety_160.tv2_in1k."),
        ("regnet_x_1_6gf", "backbone=regnetx_016."),
        ("regnet_y_400mf", "backbone=regnety_004."),
        ("ResNet50_Weights.IMAGENET1K_V1", "backbone=resnet50.tv_in1k."),
    ],
)
def test_names_of_torchvision_are_told_timms(typed: str, told: str) -> None:
    """No other weights are taken without a word; the line has the name to give, with the tag where the same weights are there."""
    with pytest.raises(BackboneError, match=rf"backbone={typed}: unknown: that is torchvision's name; .* give {re.escape(told)}$"):
        resolve(typed)


def test_every_name_of_torchvision_is_known_or_told() -> None:
    """All 80 classifiers: an architecture here, or one line with the name of one that is here."""
    from torchvision import models

    for name in models.list_models(module=models):
        if (other := timm_name(name)) is None or name in TORCHVISION_FAMILIES:
            assert resolve(name).model == name
        else:
            assert resolve(other).model == other


def test_suggestions_keep_the_tag() -> None:
    """Of a misspelt architecture with a tag, the near ones are told with that tag where they were published with it."""
    with pytest.raises(BackboneError, match=r"did you mean resnet50\.a1_in1k or resnet\.a1_in1k or resnet51q\?"):
        resolve("resnet5O.a1_in1k")
    with pytest.raises(BackboneError, match=r"resnet50 has no weights 'IMAGENET1K_V2'; did you mean resnet50\.tv2_in1k\?"):
        resolve("resnet50.IMAGENET1K_V2")


def test_other_repositories_are_not_taken() -> None:
    """Whoever names one is told what to put in front if it is in timm's format, and what is near among timm's own."""
    with pytest.raises(BackboneError, match=r"hf-hub:google/vit-base-patch16-224 or local-dir:.*; did you mean vit_base_patch16_224 "):
        resolve("google/vit-base-patch16-224")
