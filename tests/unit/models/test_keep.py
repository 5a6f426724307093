"""Which models stay once a study is ranked."""

from pathlib import Path

import numpy as np

from harness.config import RankConfig
from harness.models.keep import drop_models
from harness.select.ranking import rank
from harness.status import Status
from harness.study.model_file import ModelFile
from harness.study.models import Models
from tests.unit.reporting.fake_study import write_study
from tests.unit.study.models import make_header


def test_those_that_may_be_recommended_stay_and_every_head(tmp_path: Path) -> None:
    """Of fine-tunes that can be excluded as best only the fastest pick stays; heads stay in any case."""
    vit = "vit_small_patch16_224.augreg_in21k_ft_in1k"
    study = write_study(tmp_path / "s", backbones=(vit, "squeezenet"), depths=("all", "0.5", "none"), num_val=400)
    models = Models(study)
    for row in study.rows():
        models.write(ModelFile(make_header(job_id=row.job_id), {"head.weight": np.ones((2, 3), np.float32)}))
    ranking = rank(study, RankConfig(), may_open=False, by="test")
    assert ranking.decision is not None
    (fastest,) = ranking.decision.fastest.candidate.rows
    assert (fastest.backbone, fastest.freeze) == ("squeezenet", "0.5")
    drop_models(study, ranking)
    kept = {(row.backbone, row.freeze) for row in study.rows() if row.status == Status.ok and models.has(row.job_id)}
    assert kept == {(vit, "all"), (vit, "0.5"), (vit, "none"), ("squeezenet", "all"), ("squeezenet", "0.5")}
