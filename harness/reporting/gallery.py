"""The images themselves, after the six steps: mistakes, doubts, near copies, and what augmentation does; as far as the study keeps thumbnails of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from harness.reporting import confusion, formats
from harness.reporting.data_audit import DataAudit
from harness.reporting.document import Block, Figure, Gallery, Paragraph, Section, Thumbnail, Tone
from harness.reporting.images_to_show import Group, Item, groups, pair_groups
from harness.select.mistakes import OnVal
from harness.select.ranking import Entry, Ranking
from harness.study.store import Study
from harness.study.thumbnails import MAX_CHARACTERS, Thumbnails, in_base64, is_shown
from harness.text.counts import counted
from harness.text.language import listed, say, told

ANCHOR = "images"
_MAX_NAME = 60

Source = Callable[[Study, Ranking, DataAudit], Thumbnails | None]
"""Where a report has its pictures from; None: it shows none."""


def kept(study: Study, ranking: Ranking, _: DataAudit) -> Thumbnails | None:
    """Those that a sweep has left in the study."""
    return None if ranking.pool.protocol is None else study.thumbnails(ranking.pool.protocol)


def nothing(*_: object) -> None:
    """No picture, whatever the study keeps."""


@dataclass(slots=True)
class _Page:
    """The pictures that there are, the room that is left, and what could not be shown."""

    pictures: dict[str, str]
    """By name, in base 64."""
    damaged: set[str]
    left: int = MAX_CHARACTERS
    """Characters."""
    missing: set[str] = field(default_factory=set)
    crowded: set[str] = field(default_factory=set)

    def figures(self, items: Sequence[Item]) -> Iterator[Figure]:
        """Of those whose pictures are all there."""
        for item in items:
            if missing := {path for path in item.paths if path not in self.pictures}:
                self.missing |= missing
            else:
                yield from self.fitting(item.paths, item.caption, [Thumbnail(item.alt, self.pictures[path]) for path in item.paths])

    def fitting(self, paths: Sequence[str], caption: str, thumbnails: Sequence[Thumbnail]) -> Iterator[Figure]:
        """The figure, if there is room for it."""
        size = sum(len(each.webp) for each in thumbnails)
        if size > self.left:
            self.crowded |= set(paths)
            return
        self.left -= size
        yield Figure(listed([formats.shorten(formats.one_line(path), _MAX_NAME) for path in paths]), caption, thumbnails)

    def gallery(self, group: Group, back: str = "") -> list[Gallery]:
        """Empty where nothing of the group can be shown."""
        figures = list(self.figures(group.items))
        return [Gallery(group.anchor, group.title, figures, back)] if figures else []

    def not_shown(self) -> list[Block]:
        """How many images have no picture, and why."""
        lacking, damaged, crowded = len(self.missing - self.damaged), len(self.missing & self.damaged), len(self.crowded)
        reasons = [
            (lacking, say("the study keeps no thumbnail of {images}", images=counted(lacking, "image"))),
            (damaged, say("the thumbnail is damaged of {images}", images=counted(damaged, "image"))),
            (crowded, say("1 MB of pictures on a page leaves no room for {images}", images=counted(crowded, "image"))),
        ]
        said = say("; ").join(reason for number, reason in reasons if number)
        return [Paragraph(say("Not all pictures are here: {reasons}.", reasons=said), Tone.note)] if said else []


def build(study: Study, ranking: Ranking, found: DataAudit, thumbnails: Thumbnails | None) -> Section | None:
    """Return the part of the report that shows images; None where there is nothing to show."""
    first = ranking.recommended or ranking.best
    if thumbnails is None or first is None:
        return None
    pictures = {path: in_base64(picture) for path, picture in thumbnails.pictures.items() if is_shown(picture)}
    page = _Page(pictures, set(thumbnails.pictures) - set(pictures))
    on_val = OnVal.of(study, ranking, first.candidate)
    general = [gallery for group in groups(on_val, found) for gallery in page.gallery(group)] + _augmentation(page, thumbnails)
    by_pair = [gallery for group in pair_groups(on_val) for gallery in page.gallery(group, back=confusion.ANCHOR)]
    if not general and not by_pair:
        return None
    table = confusion.confusion_table(on_val, {each.anchor for each in by_pair})
    if table is None:
        after: list[Block] = [Paragraph(say("Images may have several labels, so there is no table of classes."))]
    else:
        after = [table, *by_pair]
    return Section(ANCHOR, say("Look at the images"), [Paragraph(_about(first, on_val)), *page.not_shown(), *general, *after])


def _about(first: Entry, on_val: OnVal) -> str:
    """Whose mistakes are shown, and which images are."""
    whose = say(
        "Mistakes and probabilities are those of {label}, trained with seed {seed}, on val."
        if len(first.candidate.rows) > 1
        else "Mistakes and probabilities are those of {label}, on val.",
        label=first.label,
        seed=first.candidate.row.seed,
    )
    by_share = say("Not always is the likeliest class predicted, but the one that the metric calls for.") if on_val.is_by_share else ""
    which = say(
        "Images of val are shown, and of train what the audit has found and what augmentation does; test images never are. Small pictures are "
        "inside index.html: report.images=false leaves them out."
    )
    return told(whose, by_share, which)


def _augmentation(page: _Page, thumbnails: Thumbnails) -> list[Gallery]:
    """Train images beside what training saw of them once."""
    title = say("What train.augment={name} does: train images, and as training saw them once", name=formats.one_line(thumbnails.augment))
    figures = [
        figure
        for pair in thumbnails.pairs
        if is_shown(pair.original) and is_shown(pair.augmented)
        for figure in page.fitting(
            [pair.path],
            say("before and after"),
            [Thumbnail(say("train image"), in_base64(pair.original)), Thumbnail(say("the same, augmented"), in_base64(pair.augmented))],
        )
    ]
    return [Gallery("augmentation", title, figures)] if figures else []
