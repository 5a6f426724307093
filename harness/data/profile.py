"""The data profile of step 1 of the report: counts, imbalance, sizes, what was left out and why."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Plain values, so that a row can carry it as JSON."""

    source: str
    root: str | None
    """Where the images were read from; None for data that ships in a package."""
    revision: str | None = None
    """Commit of a data set of the hub."""
    licence: str | None = None
    """Of the images, where their source states one."""
    num_found: int
    """Images the source lists, those that `data.drop` names included."""
    num_used: int
    """Images in the three splits."""
    class_counts: dict[str, dict[str, int]]
    """Split -> class name -> images."""
    imbalance_ratio: float
    """Largest class of train divided by its smallest."""
    split_origin: dict[str, str]
    """Split -> `official`, or how it was made (`carved from train, 20 %, stratified`)."""
    widths: dict[str, int] = field(default_factory=dict)
    """min, median, max in pixels; heights likewise."""
    heights: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    """Pillow mode as stored (L, RGB, I;16, ...) -> images."""
    max_values: dict[str, float] = field(default_factory=dict)
    """`integer`, `float` -> the value that is white in pictures of more than 8 bits."""
    num_holding_more: int = 0
    """Images with several frames or pages, of which the first is used."""
    num_dropped: int = 0
    """Images left out because `data.drop` names them."""
    num_unreadable: int = 0
    unreadable: list[str] = field(default_factory=list)
    """The first 20, as `path: reason`."""
    num_duplicates_within: int = 0
    """Images beyond the first of each group with equal content inside one split; they are kept."""
    num_duplicates_across: int = 0
    """Images left out of train or val because an equal one is in an official val or test split."""
    group: str | None = None
    """What images belong to, such as a patient, as the data set calls it; None: every image stands for itself."""
    num_groups: dict[str, int] = field(default_factory=dict)
    """Split -> groups, of which none is in two splits."""
    num_leaked: int = 0
    """Images left out of train or val because another image of their group is in an official val or test split."""
    num_label_conflicts: int = 0
    """Groups of equal images that carry different labels."""
    remarks: list[str] = field(default_factory=list)
    """Sentences on how the data were read, where that is not plain: split folders, merged folders, the value of white."""
    left_out: list[str] = field(default_factory=list)
    """Sentences on every image, file, folder and class that is there and not used, and why: what a reader of a result must know."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the reader: what was left out and why."""
