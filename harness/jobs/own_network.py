"""A network of the user's own, looked at before the first job: what it lacks is told at once, and what was made of it is said.

Between `backbones`, which builds it, and `prepare`. Shapes: B images, D features.
"""

import torch
from torch import Tensor, nn

from harness.backbones.backbone import Backbone
from harness.backbones.tensors import tensor_digest, tensors_of
from harness.errors import ConfigError
from harness.features.cut import cut, difference
from harness.text.counts import counted

_SAME = 1e-3
"""Largest difference of features, relative to the largest one, that sums in another order explain."""


def require_usable(backbone: Backbone) -> None:
    """See that a network does what freezing, caching and scoring rely on. Raises ConfigError with a line for each thing that it does not."""
    problems = [*_of_tensors(backbone.trunk), *_of_sharing(backbone), *_of_behaviour(backbone)]
    if problems:
        raise ConfigError(*(f"backbone={backbone.spec.requested}: {problem}." for problem in problems))


def _of_tensors(trunk: nn.Module) -> list[str]:
    other = {name: tensor.dtype for name, tensor in trunk.named_parameters() if tensor.dtype is not torch.float32}
    found = [f"{name} is {str(kind).removeprefix('torch.')}; have all parameters in float32" for name, kind in other.items()]
    return found[:1]


def _of_sharing(backbone: Backbone) -> list[str]:
    """Tensors with names in two blocks: a freeze depth between these would freeze half of one."""
    blocks = {name: block.name for block in backbone.blocks for name in block.tensors}
    every = dict(backbone.trunk.named_parameters(remove_duplicate=False)) | dict(backbone.trunk.named_buffers(remove_duplicate=False))
    first = {id(tensor): name for name, tensor in tensors_of(backbone.trunk).items()}
    aliases = {name: first[id(tensor)] for name, tensor in every.items() if name not in blocks}
    shared = [
        (own, name, other.name)
        for name, own in aliases.items()
        for other in backbone.blocks
        if other.name != blocks[own] and name.startswith(f"{other.name}.")
    ]
    return [f"{own} is also {name} in block {other}; give blocks=... so that one block has both" for own, name, other in shared[:1]]


@torch.no_grad()
def _of_behaviour(backbone: Backbone) -> list[str]:
    trunk, size = backbone.trunk.eval(), backbone.preprocess.image_size
    images_BCHW = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    before = {name: tensor_digest(tensor) for name, tensor in tensors_of(trunk).items()}
    together_BD: Tensor = trunk(images_BCHW)
    again_BD: Tensor = trunk(images_BCHW)
    after = {name: tensor_digest(tensor) for name, tensor in tensors_of(trunk).items()}
    moved = [name for name, digest in after.items() if before.get(name) != digest]
    problems = [f"changes {moved[0]} when it runs in eval mode; change it while self.training alone"] if moved else []
    if difference(again_BD, together_BD) > _SAME:
        return [*problems, "gives other features when it is called again in eval mode; a dropout may lack training=self.training"]
    alone_BD = torch.cat([trunk(image_CHW.unsqueeze(0)) for image_CHW in images_BCHW])
    if together_BD.shape != alone_BD.shape or difference(alone_BD, together_BD) > _SAME:
        problems.append("gives an image other features in other company in eval mode; features must not depend on the rest of the batch")
    return problems


def described(backbone: Backbone) -> str:
    """What was made of a network, in a line: its blocks, where it is cut, what it sees."""
    blocks, spec = backbone.blocks, backbone.spec
    names = [block.name or "all" for block in blocks]
    shown = ", ".join(names if len(names) <= 4 else [*names[:2], "...", names[-1]])
    num_inside, num_clean = len(blocks) - 1, len(cut(backbone).boundaries) - 2
    where = "" if num_inside == 0 else f"; cached at {num_clean} of {counted(num_inside, 'boundary', 'boundaries')} between them"
    plain = ", where none is the frozen part runs again in every epoch" if num_clean < num_inside else ""
    size = backbone.preprocess.image_size
    about = f"{spec.requested}: {counted(len(blocks), 'block')} ({shown}){where}{plain}; {size} x {size} pixels"
    return "; ".join([about, *backbone.notes])
