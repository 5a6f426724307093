"""Images whose labels are in doubt, by what models that never saw them say: from the ranking to the data audit of the report.

Where heads were judged out of fold, all images of train and val are looked at, by the mean probability of the best backbones; else those of val
alone. Test images never take part. Shapes: N images, C classes.
"""

from collections.abc import Sequence

import numpy as np

from harness.data.labels import is_several, named
from harness.measure.label_errors import FloatArray, IntArray, Suspect, suspects
from harness.select.ranking import Ranking
from harness.study.findings import Finding
from harness.study.row import Row
from harness.study.store import Predictions, Study

SUSPECT = "suspect label"
NUM_BACKBONES = 3
"""Of different backbones, whose probabilities are averaged."""


def suspect_labels(study: Study, ranking: Ranking) -> list[Finding]:
    """The worst first; none where nothing was predicted."""
    voices = _out_of_fold(study, ranking) or _on_val(study, ranking)
    if not voices:
        return []
    first = voices[0]
    probs_NC = np.mean([np.exp(each.log_probs_NC.astype(np.float64)) for each in voices], axis=0)
    labels = first.labels_N
    given = named(labels, ranking.pool.class_names)
    num_train = len(first.ids_N) - len(ranking.pool.labels_N)
    return [
        Finding(
            path=first.ids_N[found.place],
            split="train" if found.place < num_train else "val",
            problem=SUSPECT,
            label=given[found.place],
            score=found.margin,
            suggested_label=suggested,
        )
        for found, suggested in _doubts(probs_NC, labels, ranking.pool.class_names)
    ]


def _doubts(probs_NC: FloatArray, labels: IntArray, class_names: Sequence[str]) -> list[tuple[Suspect, str]]:
    """With the label, or labels, that they are more likely to have; of several labels each is looked at for itself."""
    if not is_several(labels):
        return [(found, class_names[found.suggested]) for found in suspects(probs_NC, labels)]
    doubts = []
    for number in range(len(class_names)):
        prob_N = probs_NC[:, number]
        for found in suspects(np.stack([1 - prob_N, prob_N], axis=1), labels[:, number]):
            other = labels[[found.place]].copy()
            other[0, number] = found.suggested
            doubts.append((found, named(other, class_names)[0]))
    return sorted(doubts, key=lambda doubt: -doubt[0].margin)


def _out_of_fold(study: Study, ranking: Ranking) -> Sequence[Predictions]:
    rows: dict[tuple[object, ...], Row] = {}
    for entry in ranking.entries:
        if entry.candidate.out_of_fold is not None:
            rows.setdefault(entry.candidate.features_key, entry.candidate.row)
    found = [study.out_of_fold(row.job_id) for row in list(rows.values())[:NUM_BACKBONES]]
    return [each for each in found if each is not None]


def _on_val(study: Study, ranking: Ranking) -> Sequence[Predictions]:
    return [study.val_predictions(ranking.entries[0].candidate.row.job_id)] if ranking.entries else []
