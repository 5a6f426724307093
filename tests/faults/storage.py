"""Disks that are full or read-only, and files that are cut short, changed, lost or of another version."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

from harness import verify
from harness.study.row import ROW_SCHEMA, Row
from harness.study.sealed import sealed
from tests.faults.box import TRIO, Box, Ended, quality, wait_for
from tests.faults.catalog import Outcome, Seen, fault
from tests.faults.disks import read_only, tmpfs

_JOBS = (*TRIO, "precision=float32")
"""In one arithmetic, whatever is faster at the moment: the same numbers in every run."""

_TWO_DAYS_S = 2 * 24 * 3600


@cache
def _undisturbed() -> Box:
    """One real sweep that every fault starts from a copy of, or is compared with."""
    box = Box(Path(tempfile.mkdtemp()))
    ended = box.sweep(*_JOBS)
    assert ended.status == 0, ended.err
    return box


def _fill_box(box: Box) -> list[Row]:
    """Put the finished study and its cache into a box."""
    for folder in ("results", "cache"):
        shutil.copytree(_undisturbed().root / folder, box.root / folder)
    return box.rows()


def _is_whole(box: Box) -> bool:
    """Whether every job is there with the numbers of the undisturbed sweep, and the check finds nothing."""
    return quality(box.rows()) == quality(_undisturbed().rows()) and _verify(box).status == 0


def _verify(box: Box) -> Ended:
    return box._here(verify.main, ["harness.verify", *box.folders])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _recovered(box: Box, hit: Path, said: str) -> Seen:
    """The check names the damaged file; the report leaves out what it held and says so; the same sweep does that job again, and no other."""
    checked = _verify(box)
    assert checked.status == 3
    assert checked.line(str(hit), said)
    reported = box.report()
    assert reported.status == 0, reported.err
    shown = reported.line("left out", hit.name, said)
    page = (box.study.report_dir / "report.md").read_text(encoding="utf-8")
    assert hit.name in page.split("Files that cannot be used")[1]
    again = box.sweep(*_JOBS)
    assert again.status == 0, again.err
    assert again.line("3 jobs, 2 already done")
    assert again.line(hit.name, said, "is done anew")
    assert _is_whole(box)
    return Seen(Outcome.recovered, shown)


def _hit_row(box: Box) -> Path:
    return box.study.row_path(_fill_box(box)[1].job_id)


def _hit_predictions(box: Box) -> Path:
    return box.study.predictions_path(_fill_box(box)[1].job_id)


@fault("storage", "the file is truncated to its first half")
def a_row_cut_short(box: Box) -> Seen:
    """a row is cut short"""
    path = _hit_row(box)
    _cut(path)
    return _recovered(box, path, "is not JSON any more, so cut short or changed")


@fault("storage", "random bytes are written over the file")
def a_row_of_rubbish(box: Box) -> Seen:
    """a row is rubbish"""
    path = _hit_row(box)
    path.write_bytes(os.urandom(4096))
    return _recovered(box, path, "is not JSON any more, so cut short or changed")


@fault("storage", "the file is truncated to nothing, as some file systems leave it after a power cut")
def an_empty_row(box: Box) -> Seen:
    """a row is empty"""
    path = _hit_row(box)
    path.write_bytes(b"")
    return _recovered(box, path, "is empty")


@fault("storage", "one bit of the accuracy is flipped: the file is still JSON, and the number plausible")
def a_row_with_another_number(box: Box) -> Seen:
    """one bit of a row changes"""
    path = _hit_row(box)
    before, key, after = path.read_bytes().partition(b'"val_accuracy": 0.')
    assert key
    path.write_bytes(before + key + bytes([after[0] ^ 1]) + after[1:])
    assert json.loads(path.read_bytes())["val_accuracy"] < 1
    return _recovered(box, path, "is not as it was written")


@fault("storage", "the file is truncated to its first half")
def predictions_cut_short(box: Box) -> Seen:
    """predictions are cut short"""
    path = _hit_predictions(box)
    _cut(path)
    return _recovered(box, path, "is not the file that its row was made from")


@fault("storage", "one bit in the middle of the file is flipped")
def predictions_with_another_bit(box: Box) -> Seen:
    """one bit of the predictions changes"""
    path = _hit_predictions(box)
    _flip(path)
    return _recovered(box, path, "is not the file that its row was made from")


@fault("storage", "the file is deleted")
def predictions_lost(box: Box) -> Seen:
    """predictions are lost"""
    path = _hit_predictions(box)
    path.unlink()
    return _recovered(box, path, "is missing")


def _other_schema(box: Box, schema: int, *, is_sealed: bool) -> Seen:
    """Beside three good rows: refused by number, everything else as ever."""
    row = _fill_box(box)[0]
    record = json.loads(box.study.row_path(row.job_id).read_bytes()) | {"schema": schema, "job_id": "0123456789abcdef"}
    del record["blake2b"]
    text = json.dumps(record, indent=1)
    box.study.row_path("0123456789abcdef").write_text(sealed(text) if is_sealed else text, encoding="ascii")
    reported = box.report()
    assert reported.status == 0, reported.err
    assert quality(box.rows()) == quality(_undisturbed().rows())
    assert _verify(box).status == 3
    return Seen(Outcome.left_out, reported.line("left out", f"schema {schema}"))


@fault("storage", "a row as the previous version wrote it lies beside the others")
def a_row_of_an_older_schema(box: Box) -> Seen:
    """a row is of an older schema"""
    return _other_schema(box, ROW_SCHEMA - 1, is_sealed=False)


@fault("storage", "a row with a higher schema number and a valid seal lies beside the others")
def a_row_of_a_newer_schema(box: Box) -> Seen:
    """a row is of a newer schema"""
    return _other_schema(box, ROW_SCHEMA + 1, is_sealed=True)


@fault("storage", "one bit of results.csv is flipped, and results.parquet is cut")
def a_damaged_table(box: Box) -> Seen:
    """the table is damaged"""
    _fill_box(box)
    _flip(box.study.root / "results.csv")
    _cut(box.study.root / "results.parquet")
    checked = _verify(box)
    assert checked.status == 3
    assert checked.line("results.parquet", "does not hold what the rows do")
    shown = checked.line("results.csv", "does not hold what the rows do").replace(str(box.root), "")
    assert box.report().status == 0
    assert _is_whole(box)
    return Seen(Outcome.recovered, shown)


@fault("storage", "rubbish and half a line are written into opened.jsonl and searches.jsonl")
def damaged_logs(box: Box) -> Seen:
    """the log of opened test predictions is damaged"""
    _fill_box(box)
    opened = box.study.opened()
    for name in ("opened.jsonl", "searches.jsonl"):
        with (box.study.root / name).open("ab") as log:
            log.write(b'\xff\xfe\n{"job_id": "')
    reported = box.report()
    assert reported.status == 0, reported.err
    assert box.study.opened() == opened
    assert _verify(box).status == 3
    return Seen(Outcome.left_out, reported.line("left out", "opened.jsonl"))


def _kept(box: Box) -> list[Path]:
    files = sorted((box.cache / "features").glob("[!.]*/rows.npy"))
    assert files
    return files


@fault("storage", "every file of cached features is truncated to its first half; the jobs run again")
def features_cut_short(box: Box) -> Seen:
    """cached features are cut short"""
    _fill_box(box)
    for path in _kept(box):
        _cut(path)
    return _features(box, "has ")


@fault("storage", "one bit of every file of cached features is flipped; the jobs run again")
def features_with_another_bit(box: Box) -> Seen:
    """one bit of cached features changes"""
    _fill_box(box)
    for path in _kept(box):
        _flip(path)
    return _features(box, "has another hash than when it was written")


def _features(box: Box, said: str) -> Seen:
    """The check says so; jobs that need them compute them anew and come to the same numbers."""
    checked = _verify(box)
    assert checked.status == 3
    shown = checked.line("is damaged", said).replace(str(box.root), "")
    for row in box.rows():
        box.study.row_path(row.job_id).unlink()
    again = box.sweep(*_JOBS)
    assert again.status == 0, again.err
    assert _is_whole(box)
    return Seen(Outcome.recovered, shown)


@fault("storage", "a process is ended by SIGKILL while it writes a row; the file it leaves is made two days old")
def a_killed_writer(box: Box) -> Seen:
    """a temporary file is left by a killed writer"""
    _fill_box(box)
    path = box.study.row_path("0123456789abcdef")
    code = f"""
from pathlib import Path
from harness.files import atomic_write
with atomic_write(Path({str(path)!r})) as temporary:
    temporary.write_text('{{"blake2b": ')
    print("half", flush=True)
    input()
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (left,) = path.parent.glob(".*")
    assert _is_whole(box)
    assert box.report().status == 0
    assert left.exists()
    os.utime(left, (time.time() - _TWO_DAYS_S,) * 2)
    assert box.report().status == 0
    assert not left.exists()
    assert _is_whole(box)
    return Seen(Outcome.recovered, "nothing; the file is taken for no row, and a report sweeps it away after a day")


def _take_all(disk: Path, once_in: Path) -> None:
    """Fill a disk to its last byte as soon as there is a file in a folder."""
    wait_for(lambda: any(once_in.glob("[!.]*")))
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (2**20, 2**12, 1):
            try:
                while ballast.write(bytes(size)):
                    pass
            except OSError:
                continue


@fault("disk", "results on a real tmpfs of 16 MiB, which another writer fills to the last byte once the first row is there")
def a_full_disk(box: Box) -> Seen:
    """the disk is full when a row is to be written"""
    with tmpfs(box.results, "16m"):
        other = threading.Thread(target=_take_all, args=(box.results, box.study.root / "rows"))
        other.start()
        ended = box.sweep(*_JOBS)
        other.join()
        assert ended.status in (2, 3)
        shown = ended.line("cannot be written (No space left on device); free some space").replace(str(box.root), "")
        assert 1 <= len(box.rows()) < 3
        assert quality(box.rows()).items() <= quality(_undisturbed().rows()).items()
        (box.results / "ballast").unlink()
        again = box.sweep(*_JOBS)
        assert again.status == 0, again.err
        assert _is_whole(box)
    return Seen(Outcome.resumed, shown)


@fault("disk", "the cache on a real tmpfs of 1 MiB, which another writer fills to the last byte once the first job begins")
def a_full_cache(box: Box) -> Seen:
    """the disk of the cache is full"""
    with tmpfs(box.cache, "1m"):
        other = threading.Thread(target=_take_all, args=(box.cache, box.study.root / "claims"))
        other.start()
        ended = box.sweep(*_JOBS)
        other.join()
        assert ended.status == 0, ended.err
        rows = box.rows()
        assert quality(rows) == quality(_undisturbed().rows())
        assert all(row.cached_mib == 0 for row in rows)
    return Seen(Outcome.recovered, "nothing; what the head sees stays in memory, images are decoded again (cached_mib=0)")


@fault("disk", "results_dir is a real read-only mount")
def read_only_results(box: Box) -> Seen:
    """the results folder is read-only"""
    with read_only(box.results):
        ended = box.sweep(*_JOBS)
        assert ended.status == 2
        assert list(box.results.iterdir()) == []
    assert ended.err.count("\n") == 1, ended.err
    return Seen(Outcome.refused, ended.line("cannot be written", "make the folder writable").replace(str(box.root), ""))


@fault("disk", "cache_dir is a real read-only mount")
def a_read_only_cache(box: Box) -> Seen:
    """the cache folder is read-only"""
    with read_only(box.cache):
        ended = box.sweep(*_JOBS)
        assert ended.status == 2
    assert box.rows() == []
    return Seen(Outcome.refused, ended.line("error: ", "cannot be written", "make the folder writable").replace(str(box.root), ""))


@fault("storage", "results_dir=FILE")
def results_are_a_file(box: Box) -> Seen:
    """the path of the results is a file"""
    box.results.write_text("mine", encoding="ascii")
    ended = box.sweep(*_JOBS)
    assert ended.status == 2
    assert ended.err.count("\n") == 1, ended.err
    assert box.results.read_text(encoding="ascii") == "mine"
    return Seen(Outcome.refused, ended.line("cannot be written", "move away what lies in its place").replace(str(box.root), ""))


@fault("disk", "report/ is a real read-only mount")
def a_read_only_report(box: Box) -> Seen:
    """the folder of the report is read-only"""
    _fill_box(box)
    before = (box.study.report_dir / "index.html").read_bytes()
    with read_only(box.study.report_dir):
        ended = box.report()
        assert ended.status == 2
        assert (box.study.report_dir / "index.html").read_bytes() == before
    assert ended.err.count("\n") == 1, ended.err
    assert box.report().status == 0
    assert _is_whole(box)
    return Seen(Outcome.refused, ended.line("cannot be written", "make the folder writable").replace(str(box.root), ""))
