"""Pictures whose classes a network that knows photographs does not see at once: emoji in nine categories. Used by `benchmarks.finetune`.

They come from a package of the npm registry, through its ordinary client, into a cache folder. Nothing of it is part of this project.
"""

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.side_by_side import BenchmarkError

PACKAGE = "emoji-datasource-google@16.0.0"
LICENCE = "pictures of Noto Emoji: Apache-2.0; their list of categories: MIT"

_PICTURES = "package/img/google/64"
_JOINER = "200D"
"""Code point within pictures put together from others: a cook is there as person, man and woman."""


def emoji_folder(cache: Path) -> Path:
    """A folder with one folder of pictures (PNG, 64 pixels) for each category, fetched if it is not in `cache` yet.

    Raises:
        BenchmarkError: it is not there and the package cannot be fetched.
    """
    folder = cache / PACKAGE.replace("@", "-")
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as there:
            arranged = arrange(_fetch(Path(there)), Path(there) / "arranged")
            arranged.rename(folder)
    return folder


def base_pictures(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """File name -> name of its class, for pictures that are no variant of another one: no skin tones, no gendered or joined ones."""
    return {
        record["image"]: _folder_name(record["category"])
        for record in records
        if record["has_img_google"] and _JOINER not in record["unified"].split("-") and record["category"] != "Component"
    }


def _folder_name(category: str) -> str:
    return "_".join(word for word in category.lower().split() if word.isalnum())


def arrange(archive: Path, folder: Path) -> Path:
    """Unpack the base pictures of the package's archive into a folder per class. Returns `folder`."""
    with tarfile.open(archive) as package:
        records = json.loads(_content(package, "package/emoji.json"))
        for file_name, class_name in base_pictures(records).items():
            target = folder / class_name / PurePosixPath(file_name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_content(package, f"{_PICTURES}/{file_name}"))
    return folder


def _content(package: tarfile.TarFile, name: str) -> bytes:
    try:
        file = package.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise BenchmarkError(f"{PACKAGE}: holds no {name}; the package is laid out in another way than version 16.")
    return file.read()


def _fetch(folder: Path) -> Path:
    """The package's archive, by `npm pack`."""
    if shutil.which("npm") is None:
        raise BenchmarkError(f"npm is not installed, which fetches the pictures ({PACKAGE}); leave emoji out: --data elpv,digits")
    command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.tgz"))
    if done.returncode or not found:
        last = (done.stderr.strip() or done.stdout.strip() or "it wrote nothing").splitlines()[-1]
        raise BenchmarkError(f"npm pack {PACKAGE}: {last}; leave emoji out: --data elpv,digits")
    return found[0]
