"""A sweep keeps small pictures of what its report may show; the report shows them wherever it is made, and never an image of test."""

import io
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
from PIL import Image

from tests.integration.commands import Command, Ended
from tests.integration.test_data_audit import PLAIN, _patients

OPTIONS = (*PLAIN, "train.augment=flip", "study=cells")


def _page(ended: Ended) -> str:
    assert ended.status == 0, ended.err
    return (ended.study("cells").report_dir / "index.html").read_text(encoding="utf-8")


def _images(html: str) -> str:
    """The part that shows images; empty where there is none."""
    return html.partition('<section id="images">')[2]


def test_a_report_shows_images_also_where_they_are_out_of_reach(tmp_path: Path, run_sweep: Command, run_report: Command) -> None:
    """Six near copies of each of twelve patients: what is shown can be decoded, is small, and is of train and val only, although audit and predictions
    name images of test; a report on another day, without the images, has the same pictures; report.images=false leaves no trace of them.
    """
    options = (*OPTIONS, f"data.root={_patients(tmp_path / 'images')}")
    ended = run_sweep(*options)
    html = _page(ended)
    pictures = [Image.open(io.BytesIO(b64decode(found))) for found in re.findall('src="data:image/webp;base64,([^"]+)"', html)]
    assert len(pictures) > 40
    for picture in pictures:
        assert picture.format == "WEBP"
        assert max(picture.size) <= 96
        picture.load()
    study = ended.study("cells")
    (row,) = study.rows()
    with np.load(study.predictions_path(row.job_id)) as arrays:
        of_test = {str(name).replace("<b>", "&lt;b&gt;") for name in arrays["test_ids"]}
        of_val = {str(name).replace("<b>", "&lt;b&gt;") for name in arrays["val_ids"]}
    shown = {name for names in re.findall('<span class="file">(.*?)</span>', _images(html)) for name in names.split(" and ")}
    assert not of_test & shown
    assert not {name for name in of_test if name in _images(html)}
    assert of_val & shown
    assert 'id="augmentation"' in html
    assert 'id="near-copies"' in html
    kept = study.thumbnails(row.protocol)
    assert kept is not None
    assert not of_test & {name.replace("<b>", "&lt;b&gt;") for name in (*kept.pictures, *(pair.path for pair in kept.pairs))}
    assert sum(map(len, kept.pictures.values())) < 2**20

    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert _images(_page(run_report("study=cells"))) == _images(html)
    assert "data:image/webp" not in _page(run_report("study=cells", "report.images=false"))
    assert _images(_page(run_report("study=cells"))) == _images(html)
    (tmp_path / "elsewhere").rename(tmp_path / "images")
    assert "data:image/webp" not in _page(run_sweep(*options, "report.images=false"))
    assert not any((study.root / "thumbnails").iterdir())
