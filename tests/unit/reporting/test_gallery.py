"""The images on the page: the right ones with the right words, reachable without script, and nothing that is no picture."""

import io
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.config import RankConfig
from harness.reporting import gallery
from harness.reporting.build import build_report
from harness.reporting.data_audit import audit_images
from harness.reporting.document import Column, Document, Figure, Gallery, Link, Section, Table, Thumbnail, Tone
from harness.reporting.render import to_html, to_markdown
from harness.select.ranking import rank
from harness.study.store import Study
from harness.study.thumbnails import MAX_CHARACTERS, SIDE, Pair, Thumbnails
from tests.unit.reporting.fake_study import write_study
from tests.unit.reporting.test_report_build import Page
from tests.unit.reporting.test_report_injection import EVIL

NAMES = ("cat", "dog", "<i>emu</i>")
QUICK = RankConfig(num_resamples=200)
FIGURE = re.compile(r'<li><figure>.*?>(<img.*?)</div>\s*<figcaption><span class="file">(.*?)</span> (.*?)</figcaption>', re.DOTALL)


def webp(side: int = SIDE, *, lossless: bool = False) -> bytes:
    """Noise."""
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "WEBP", quality=20, lossless=lossless)
    return content.getvalue()


def write(root: Path, picture: bytes, num_classes: int = 3) -> Study:
    """A study with the same thumbnail for every image of val and train."""
    names = [*NAMES, *(f"c{number}" for number in range(3, num_classes))]
    study = write_study(root / "fake", class_names=names, backbones=("resnet50", "squeezenet"), depths=("all",), num_val=150, num_test=80)
    pictures = {f"{split}/{number}.png": picture for split in ("val", "train") for number in range(450)}
    study.write_thumbnails("p1", Thumbnails(pictures=pictures, augment="flip", pairs=(Pair("train/0.png", picture, picture),)))
    return study


def page_of(study: Study) -> str:
    """A page of nothing but the images."""
    ranking = rank(study, QUICK)
    found = audit_images(study, ranking)
    shown = gallery.build(study, ranking, found, gallery.kept(study, ranking, found))
    return to_html(Document("t", "v", Tone.plain, "h", [], [], [], images=shown))


def group(html: str, anchor: str) -> list[tuple[str, ...]]:
    """Pictures, name and caption of each figure of a group."""
    _, _, after = html.partition(f'<h3 id="{anchor}">')
    return [tuple(map(unescape, found)) for found in FIGURE.findall(after.partition("<h3")[0].partition('<figure class="table"')[0])]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with thumbnails whose report is built."""
    return write(tmp_path_factory.mktemp("gallery"), webp())


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    """Its page."""
    build_report(study, QUICK)
    return (study.report_dir / "index.html").read_text(encoding="utf-8")


def test_the_most_confident_mistakes_come_first_with_their_words(study: Study, html: str) -> None:
    """Found again from the predictions: name, true and predicted class and probability, in the order of the probability."""
    ranking = rank(study, QUICK)
    assert ranking.recommended is not None
    row = ranking.recommended.candidate.row
    said = study.val_predictions(row.job_id)
    adjusted_NC = said.log_probs_NC - np.log(np.array(row.details.class_prior))  # balanced accuracy
    assert row.primary_metric == "balanced_accuracy"
    called_N, probs_NC = adjusted_NC.argmax(axis=1), np.exp(said.log_probs_NC.astype(float))
    wrong = sorted(np.flatnonzero(called_N != said.labels_N), key=lambda n: -probs_NC[n, called_N[n]])[:24]
    expected = [
        (said.ids_N[n], f"true: {NAMES[said.labels_N[n]]}; predicted: {NAMES[called_N[n]]}, {100 * probs_NC[n, called_N[n]]:.1f} %")
        for n in wrong
    ]
    assert [(name, caption.replace("\N{NO-BREAK SPACE}", " ")) for _, name, caption in group(html, "confident-mistakes")] == expected
    margins = np.diff(np.sort(probs_NC, axis=1)[:, -2:], axis=1)[:, 0]
    assert [name for _, name, _ in group(html, "least-certain")] == [said.ids_N[n] for n in np.argsort(margins, kind="stable")[:24]]


def test_cells_of_the_table_lead_to_the_mistakes_that_they_count(html: str) -> None:
    """Without script: places on the page, an accessible name for each link, a name for each row, and as many figures as are said, eight at most."""
    _, _, table = html.partition('id="confusion-table"')
    links = re.findall(r'<a href="#(mistakes-\d-\d)" aria-label="([^"]*)">(\d+)</a>', table.partition("</table>")[0])
    assert len(links) >= 3
    for anchor, label, number in links:
        true, called = (NAMES[int(part)] for part in anchor.split("-")[1:])
        assert unescape(label) == f"{number} image{'' if number == '1' else 's'} of {true}, predicted {called}"
        figures = group(html, anchor)
        assert len(figures) == min(int(number), 8)
        assert all(caption.startswith(f"true: {true}; predicted: {called}, ") for _, _, caption in figures)
    assert table.partition("</table>")[0].count('<th scope="row">') == len(NAMES)
    page = Page(html)
    assert page.elements["i"] == 0
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for name, value in page.attributes if name == "href" and value.startswith("#")} <= set(ids)


def test_every_picture_has_words_for_who_does_not_see_it(html: str) -> None:
    """An alt text for each image, and a caption for each figure; what augmentation does is a pair."""
    images = re.findall(r"<img [^>]*>", html)
    assert len(images) > 60
    assert all(re.fullmatch(r'<img src="data:image/webp;base64,[^"]+" alt="[^"]+">', image) for image in images)
    ((pictures, name, _),) = group(html, "augmentation")
    assert (pictures.count("<img"), name) == (2, "train/0.png")
    assert html.count("<li><figure>") == html.count('<figcaption><span class="file">')


def test_what_is_no_thumbnail_is_left_out_with_a_word(tmp_path: Path) -> None:
    """One that was not kept, a cut file, a picture of another format and one that is too large are counted and not on the page."""
    study = write(tmp_path, webp())
    first = [name for _, name, _ in group(page_of(study), "confident-mistakes")][:4]
    found = study.thumbnails("p1")
    assert found is not None
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    bad = dict(zip(first[1:], (webp()[:99], png.getvalue(), webp(SIDE + 1)), strict=True))
    pictures = {name: picture for name, picture in {**found.pictures, **bad}.items() if name != first[0]}
    study.write_thumbnails("p1", Thumbnails(pictures=pictures))
    html = page_of(study)
    assert "the study keeps no thumbnail of 1 image; the thumbnail is damaged of 3 images." in html
    assert not {name for _, name, _ in group(html, "confident-mistakes")} & set(first)
    path = study.thumbnails_dir / "p1.json"
    path.write_bytes(path.read_bytes().replace(b"val/1.png", b"val/x.png"))
    assert "data:image/webp" not in page_of(study)
    assert [each.reason for each in study.damaged()] == ["is not as it was written"]


def test_a_page_holds_at_most_a_megabyte_of_pictures(tmp_path: Path) -> None:
    """Pictures of thirty kilobytes: some are left out, which is said."""
    html = page_of(write(tmp_path, webp(lossless=True)))
    pictures = re.findall(r'base64,([^"]+)"', html[html.index('<section id="images">') :])
    assert 0.9 * MAX_CHARACTERS < sum(map(len, pictures)) <= MAX_CHARACTERS == 2**20
    assert "1 MB of pictures on a page leaves no room for" in html


def test_many_classes_have_a_table_of_the_most_confused_pairs(tmp_path: Path) -> None:
    """Fourteen by fourteen is no table to read; each line of the one that takes its place leads to pictures."""
    html = page_of(write(tmp_path, webp(), num_classes=14))
    table = html.partition('id="confusion-table"')[2].partition("</table>")[0]
    assert "Classes that are confused most on val" in table
    assert table.count('<a href="#mistakes-') == table.count("<tr>") - 1 == 20


def test_hostile_names_stay_text() -> None:
    """In captions, alt texts, places and links, and a file that is none."""
    hostile = Gallery(EVIL, EVIL, [Figure(EVIL, EVIL, [Thumbnail(EVIL, EVIL)])], EVIL)
    table = Table(EVIL, [Column(EVIL)], [[Link(EVIL, EVIL, EVIL)], [EVIL]], anchor=EVIL, has_row_names=True)
    document = Document("t", "v", Tone.plain, "h", [], [], [], images=Section("images", EVIL, [hostile, table]))
    page = Page(to_html(document))
    assert page.elements["img"] == 1
    assert page.elements["script"] == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert [value[:5] for name, value in page.attributes if name == "src"] == ["data:"]
    assert "<" not in to_markdown(document)
