"""Small pictures of images of train and val, for the report of a study that may be read where the images are out of reach. Runs in a process of its own.

Test images are never opened here.
"""

import io
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from harness.config import Augment
from harness.data.dataset import ImageRef, Split
from harness.data.transforms import PixelDataset, train_transform
from harness.errors import DataError
from harness.jobs.model_size import outline
from harness.jobs.spec import JobSpec
from harness.study.thumbnails import MAX_CHARACTERS, SIDE, Pair, Thumbnails

MAX_PICTURES = 400
BUDGET_S = 10.0
"""Images are opened so long; those that are left get no picture."""
NUM_AUGMENTED = 8
_QUALITY = 75
_MAX_BYTES = MAX_CHARACTERS * 3 // 4


def make_thumbnails(job: JobSpec, wanted: Sequence[str]) -> Thumbnails:
    """Return pictures of images by their names, the first ones first, and what augmentation makes of some train images.

    Args:
        job: whose images, and whose augmentation.
        wanted: names of images, the most important first; those of test, or that can be opened no more, get no picture.
    """
    ends, pairs = time.monotonic() + BUDGET_S, tuple(_augmented(job))
    known = {ref.id: ref for split in (job.dataset.train, job.dataset.val) for ref in split.images}
    names = [name for name in wanted if name in known][:MAX_PICTURES]
    with ThreadPoolExecutor() as pool:
        made = pool.map(lambda name: _opened(known[name]) if time.monotonic() < ends else None, names)
        pictures = {name: picture for name, picture in zip(names, made, strict=True) if picture is not None}
    room = _MAX_BYTES - sum(len(pair.original) + len(pair.augmented) for pair in pairs)
    return Thumbnails(pictures=dict(_that_fit(pictures, room)), augment=job.config.train.augment.value, pairs=pairs)


def small(picture: Image.Image) -> bytes:
    """A WebP file of at most `SIDE` pixels a side; what is smaller stays as large as it is."""
    picture.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    picture.convert("RGB").save(content, "WEBP", quality=_QUALITY)
    return content.getvalue()


def _opened(ref: ImageRef) -> bytes | None:
    try:
        return small(ref.open())
    except DataError:  # gone or changed since the data set was loaded
        return None


def _that_fit(pictures: dict[str, bytes], room: int) -> Iterator[tuple[str, bytes]]:
    for name, picture in pictures.items():
        room -= len(picture)
        if room < 0:
            return
        yield name, picture


def _augmented(job: JobSpec) -> Iterator[Pair]:
    """By the transforms that train images go through; nothing where they are shown as they are, or the network has no outline to take its input size from."""
    augment = job.config.train.augment
    if augment is Augment.none or (backbone := outline(job.config, job.backbone)) is None:
        return
    refs = _one_of_each_class(job.dataset.train)
    seen = PixelDataset(refs, train_transform(backbone.preprocess, augment), job.config.seed)
    for place, ref in enumerate(refs):
        if (original := _opened(ref)) is not None:
            yield Pair(ref.id, original, small(Image.fromarray(seen[place])))


def _one_of_each_class(train: Split) -> list[ImageRef]:
    """The first image of each class, then the second ones, until there are `NUM_AUGMENTED`. Of several labels: of each set of them."""
    turns: dict[str, int] = {}
    order = []
    for place, label in enumerate(train.labels.tolist()):
        turn = turns[str(label)] = turns.get(str(label), -1) + 1
        order.append((turn, place))
    return [train.images[place] for _, place in sorted(order)[:NUM_AUGMENTED]]
