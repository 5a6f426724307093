"""The feature store: what is read back is what was written, whoever else writes, dies or damages it."""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.features.entry import Entry, RowType
from harness.features.store import FeatureStore

Array = npt.NDArray[Any]

MIB = 2**20
FLOATS = RowType("float32", 3)
MIB_ROW = RowType("uint8", MIB)

WRITER = """
import sys
from pathlib import Path
import numpy as np
from harness.features.entry import RowType
from harness.features.store import FeatureStore
store = FeatureStore(Path(sys.argv[1]), max_gib=1)
"""


def numbers(num_rows: int, row: RowType = FLOATS, seed: int = 0) -> Array:
    """Random rows."""
    values: Array = np.random.default_rng(seed).integers(0, 250, (num_rows, row.num_values)).astype(row.dtype)
    return values


def write(store: FeatureStore, address: dict[str, Any], values_NE: Array, **about: Any) -> None:
    """Publish one entry in one append."""
    with store.create(address, RowType(values_NE.dtype.name, values_NE.shape[1]), len(values_NE)) as writer:
        writer.append(values_NE)
        writer.about |= about


def found(store: FeatureStore, address: dict[str, Any]) -> Entry:
    """The entry, which must be there."""
    entry = store.find(address)
    assert entry is not None
    return entry


def contents(root: Path) -> list[Path]:
    """Everything in the store's folder, hidden folders included."""
    return sorted(root.iterdir()) if root.exists() else []


def start(script: str, root: Path) -> subprocess.Popen[str]:
    """A real process that has a store of its own on the same folder."""
    command = [sys.executable, "-c", WRITER + script, str(root)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def read_line(process: subprocess.Popen[str]) -> str:
    """What the process says next."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the store will be; not there yet."""
    return tmp_path / "cache" / "features"


@pytest.fixture
def store(root: Path) -> FeatureStore:
    """A store with more room than any test needs."""
    return FeatureStore(root, max_gib=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_was_written_is_read_back_by_another_process_s_store(root: Path, store: FeatureStore, dtype: str) -> None:
    """Values, their type, their order, the number of rows and the writer's notes all survive."""
    values_NE = numbers(20, RowType(dtype, 7))
    write(store, {"weights": "abc", "precision": dtype}, values_NE, seconds=1.5)
    entry = found(FeatureStore(root, max_gib=1), {"precision": dtype, "weights": "abc"})
    assert (entry.num_rows, entry.row, entry.about) == (20, RowType(dtype, 7), {"seconds": 1.5})
    assert entry.read(slice(None)).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(entry.read(slice(None)), values_NE)
    np.testing.assert_array_equal(entry.read(slice(18, 2, -3)), values_NE[18:2:-3])
    np.testing.assert_array_equal(entry.read(np.array([5, 5, -1])), values_NE[[5, 5, -1]])


def test_other_programs_read_an_entry(root: Path, store: FeatureStore) -> None:
    """It is an array of numpy's own format; its notes are JSON."""
    write(store, {"weights": "abc"}, numbers(20, RowType("float32", 7)))
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    np.testing.assert_array_equal(np.load(folder / "rows.npy"), numbers(20, RowType("float32", 7)))
    assert json.loads((folder / "entry.json").read_text())["num_rows"] == 20


def test_what_is_read_is_a_copy(store: FeatureStore) -> None:
    """A reader may change what it was given; the entry stays as it was."""
    write(store, {"a": 1}, numbers(4))
    entry = found(store, {"a": 1})
    entry.read(slice(None))[:] = 0
    np.testing.assert_array_equal(entry.read(slice(None)), numbers(4))


def test_a_row_that_does_not_exist_is_an_error(store: FeatureStore) -> None:
    """Nothing outside the entry is ever read."""
    write(store, {"a": 1}, numbers(4))
    with pytest.raises(IndexError):
        found(store, {"a": 1}).read(np.array([4]))


def test_an_entry_of_no_rows_is_an_entry(store: FeatureStore) -> None:
    """A split may be empty."""
    write(store, {"a": 1}, numbers(0))
    entry = found(store, {"a": 1})
    assert entry.read(slice(None)).shape == (0, 3)
    with pytest.raises(IndexError):
        entry.read(np.array([0]))


def test_another_address_is_another_entry(store: FeatureStore) -> None:
    """One changed value is enough; what was not written is not found."""
    write(store, {"view": 0}, numbers(4, seed=0))
    write(store, {"view": 1}, numbers(4, seed=1))
    np.testing.assert_array_equal(found(store, {"view": 0}).read(slice(None)), numbers(4, seed=0))
    np.testing.assert_array_equal(found(store, {"view": 1}).read(slice(None)), numbers(4, seed=1))
    assert store.find({"view": 2}) is None


def test_making_a_store_and_looking_into_it_writes_nothing(root: Path, store: FeatureStore) -> None:
    """A folder appears with the first entry, not before."""
    assert store.find({"a": 1}) is None
    assert store.has_room_for(MIB)
    assert not root.parent.exists()


def flip_a_bit(folder: Path) -> None:
    """One bit of one value."""
    rows = bytearray((folder / "rows.npy").read_bytes())
    rows[17] ^= 4
    (folder / "rows.npy").write_bytes(rows)


def truncate(folder: Path) -> None:
    """The last byte is lost."""
    os.truncate(folder / "rows.npy", (folder / "rows.npy").stat().st_size - 1)


def lose_the_rows(folder: Path) -> None:
    """Somebody deleted the big file."""
    (folder / "rows.npy").unlink()


def scribble(folder: Path) -> None:
    """Not JSON at all."""
    (folder / "entry.json").write_bytes(b"\xff[[{")


def empty_json(folder: Path) -> None:
    """JSON, but not an object."""
    (folder / "entry.json").write_text("[]")


def edit_a_note(folder: Path) -> None:
    """Valid JSON with one value changed."""
    text = (folder / "entry.json").read_text().replace("1.5", "9.5")
    (folder / "entry.json").write_text(text)


DAMAGES = {
    flip_a_bit: "another hash",
    truncate: "has 367 bytes, not 368",
    lose_the_rows: "No such file",
    scribble: "cannot be read",
    empty_json: "cannot be read",
    edit_a_note: "not as it was written",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("is_new_process", [True, False])
def test_damage_is_noticed_said_and_removed(
    root: Path, store: FeatureStore, damage: Any, is_new_process: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wrote or already read the entry is not fooled either; afterwards the entry can be written again."""
    write(store, {"a": 1}, numbers(20), seconds=1.5)
    found(store, {"a": 1})
    damage(contents(root)[0])
    reader = FeatureStore(root, max_gib=1) if is_new_process else store
    assert reader.find({"a": 1}) is None
    assert contents(root) == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "damaged and removed" in record.getMessage()
    assert DAMAGES[damage] in record.getMessage()
    assert "\n" not in record.getMessage()
    write(reader, {"a": 1}, numbers(20))
    np.testing.assert_array_equal(found(reader, {"a": 1}).read(slice(None)), numbers(20))


def test_an_entry_under_another_s_name_is_noticed(root: Path, store: FeatureStore) -> None:
    """A folder that was copied to the wrong key is damage: its rows belong to other images."""
    write(store, {"a": 1}, numbers(4))
    folder = contents(root)[0]
    write(store, {"a": 2}, numbers(4))
    other = next(path for path in contents(root) if path != folder)
    (other / "rows.npy").write_bytes((folder / "rows.npy").read_bytes())
    (other / "entry.json").write_bytes((folder / "entry.json").read_bytes())
    assert FeatureStore(root, max_gib=1).find({"a": 2}) is None
    assert contents(root) == [folder]


def test_an_entry_of_another_version_is_left_alone(root: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never read as if it were this one's, is no damage, and stays until it makes room."""
    with monkeypatch.context() as patch:
        patch.setattr("harness.features.entry.SCHEMA", 0)
        write(store, {"a": 1}, numbers(4))
    assert store.find({"a": 1}) is None
    write(store, {"a": 1}, numbers(4, seed=1))
    assert [reason for _, reason in store.verify()] == [None]
    assert len(contents(root)) == 2
    np.testing.assert_array_equal(found(store, {"a": 1}).read(slice(None)), numbers(4, seed=1))


def test_the_first_of_two_interleaved_writers_wins(root: Path, store: FeatureStore) -> None:
    """Both think that they published; one complete entry is there and nothing else."""
    first, second = FeatureStore(root, max_gib=1), FeatureStore(root, max_gib=1)
    with first.create({"a": 1}, FLOATS, 4) as slow:
        slow.append(numbers(2, seed=1))
        write(second, {"a": 1}, numbers(4, seed=2))
        slow.append(numbers(2, seed=1))
    assert len(contents(root)) == 1
    for reader in (first, second, store):
        np.testing.assert_array_equal(found(reader, {"a": 1}).read(slice(None)), numbers(4, seed=2))


def test_processes_that_write_the_same_entries_at_once_leave_good_ones(root: Path, store: FeatureStore) -> None:
    """Two real processes race over twenty addresses, row by row; every entry is whole and one process's own."""
    race = """
sys.stdin.readline()
for address in range(20):
    with store.create({"a": address}, RowType("uint8", 1000), 30) as writer:
        for row in range(30):
            writer.append(np.full((1, 1000), row, np.uint8))
    assert store.find({"a": address}).read(slice(None)).sum() == 435_000
print("done")
"""
    writers = [start(race, root) for _ in range(2)]
    for process in writers:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[0].strip() for process in writers] == ["done", "done"]
    expected_NE = np.repeat(np.arange(30, dtype=np.uint8)[:, None], 1000, axis=1)
    for address in range(20):
        np.testing.assert_array_equal(found(store, {"a": address}).read(slice(None)), expected_NE)
    assert len(contents(root)) == 20


def test_a_killed_writer_leaves_nothing_that_is_found_and_is_cleaned_up_after(root: Path, store: FeatureStore) -> None:
    """While it lives its work is left alone; once it is dead the next `create` removes what it left."""
    writer = start(
        """
with store.create({"a": 1}, RowType("float32", 3), 10) as writer:
    writer.append(np.zeros((5, 3), np.float32))
    print("half", flush=True)
    sys.stdin.readline()
""",
        root,
    )
    assert read_line(writer) == "half"
    write(store, {"b": 1}, numbers(4))
    assert len(contents(root)) == 2
    writer.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)  # dead, but still listed, as nobody has asked for its exit status
    assert store.find({"a": 1}) is None
    assert len(contents(root)) == 2
    write(store, {"b": 2}, numbers(4))
    assert [path.name for path in contents(root) if path.name.startswith(".")] == []
    writer.communicate()


def test_another_host_s_leftovers_go_after_a_day(root: Path, store: FeatureStore) -> None:
    """Whether a process on another host lives cannot be asked; a day without a byte written is taken for death."""
    fresh, stale = (root / f".{'0' * 32}-other-host-1-{digit * 32}" for digit in "12")
    for folder in (fresh, stale):
        folder.mkdir(parents=True)
        (folder / "rows.npy").write_bytes(b"1")
    two_days_ago = time.time() - 2 * 24 * 3600
    for path in (fresh, stale, stale / "rows.npy"):  # the fresh one is old too, but still written to
        os.utime(path, (two_days_ago, two_days_ago))
    write(store, {"a": 1}, numbers(4))
    assert fresh in contents(root)
    assert stale not in contents(root)


def test_the_least_recently_used_entries_are_evicted_first(root: Path) -> None:
    """Finding counts as use; only as many go as needed."""
    for name in "abcd":
        write(FeatureStore(root, max_gib=4 / 1024), {"name": name}, numbers(1, MIB_ROW))
    found(FeatureStore(root, max_gib=4 / 1024), {"name": "a"})
    write(FeatureStore(root, max_gib=4 / 1024), {"name": "e"}, numbers(2, MIB_ROW))
    reader = FeatureStore(root, max_gib=4 / 1024)
    assert [name for name in "abcde" if reader.find({"name": name})] == ["a", "d", "e"]


def test_what_was_handed_out_or_is_being_written_is_not_evicted(root: Path) -> None:
    """A store never takes away what its own job holds; without room there is an error that names the way out."""
    write(FeatureStore(root, max_gib=4 / 1024), {"name": "a"}, numbers(1, MIB_ROW))
    write(FeatureStore(root, max_gib=4 / 1024), {"name": "b"}, numbers(1, MIB_ROW))
    store = FeatureStore(root, max_gib=4 / 1024)
    found(store, {"name": "a"})
    with store.create({"name": "c"}, MIB_ROW, 2) as writer:
        assert store.has_room_for(MIB)
        assert not store.has_room_for(MIB + 1)
        with pytest.raises(StoreError, match=r"no room for 2\.0 MiB.*store\.max_gib \(0\.00390625\).*store\.max_gib=0"):
            store.create({"name": "d"}, MIB_ROW, 2)
        writer.append(numbers(2, MIB_ROW))
    write(store, {"name": "e"}, numbers(1, MIB_ROW))
    assert [name for name in "abcde" if store.find({"name": name})] == ["a", "c", "e"]


def test_what_a_failed_writer_had_reserved_is_free_again(root: Path) -> None:
    """Room promised to an entry that never came can be promised again."""
    store = FeatureStore(root, max_gib=1 / 1024)
    with pytest.raises(ZeroDivisionError), store.create({"a": 1}, MIB_ROW, 1):
        _ = 1 / 0
    assert store.has_room_for(MIB)


def test_two_stores_that_write_at_once_stay_within_the_limit(root: Path) -> None:
    """Neither sees the other's unfinished entry; the later one makes room again when it publishes."""
    first, second = (FeatureStore(root, max_gib=3 / 1024) for _ in range(2))
    with first.create({"name": "a"}, MIB_ROW, 2) as writer:
        writer.append(numbers(2, MIB_ROW))
        write(second, {"name": "b"}, numbers(2, MIB_ROW))
    assert [name for name in "ab" if FeatureStore(root, max_gib=1).find({"name": name})] == ["a"]


def test_there_is_room_up_to_the_limit(root: Path) -> None:
    """The limit counts the rows of all entries that may not be evicted."""
    store = FeatureStore(root, max_gib=3 / 1024)
    assert store.has_room_for(3 * MIB)
    assert not store.has_room_for(3 * MIB + 1)
    write(store, {"a": 1}, numbers(1, MIB_ROW))
    assert store.has_room_for(3 * MIB)
    found(store, {"a": 1})
    assert store.has_room_for(2 * MIB)
    assert not store.has_room_for(2 * MIB + 1)


def test_there_is_no_more_room_than_the_disk_has(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of what is free, or would be after eviction, is left to others; entries are evicted for the disk's sake too."""
    store = FeatureStore(root, max_gib=1)
    write(store, {"a": 1}, numbers(4, MIB_ROW))
    monkeypatch.setattr("harness.features.store.shutil.disk_usage", lambda _: _Disk(6 * MIB))
    assert store.has_room_for(8 * MIB)
    assert not store.has_room_for(8 * MIB + 1)
    store.create({"a": 2}, MIB_ROW, 8)
    assert contents(root) == []


class _Disk:
    """What `shutil.disk_usage` says of a disk."""

    def __init__(self, free: int) -> None:
        self.free = free


def test_a_limit_of_zero_turns_the_store_off(root: Path, store: FeatureStore) -> None:
    """Nothing has room, not even nothing, and nothing is found."""
    write(store, {"a": 1}, numbers(4))
    off = FeatureStore(root, max_gib=0)
    assert not off.has_room_for(0)
    assert off.find({"a": 1}) is None
    with pytest.raises(StoreError, match="no room"):
        off.create({"a": 2}, FLOATS, 0)


def test_only_what_the_store_made_is_ever_deleted(root: Path) -> None:
    """A user's own files in the same folder are no entries, whatever the limit."""
    (root / "photos").mkdir(parents=True)
    (root / ".hidden-1-2").mkdir()
    store = FeatureStore(root, max_gib=1 / 1024)
    write(store, {"a": 1}, numbers(1, MIB_ROW))
    write(store, {"a": 2}, numbers(1, MIB_ROW))
    assert {"photos", ".hidden-1-2"} < {path.name for path in contents(root)}
    assert len(contents(root)) == 3


def test_an_exception_leaves_nothing(root: Path, store: FeatureStore) -> None:
    """Even when every row was there: the block did not end well."""

    def interrupted() -> None:
        with store.create({"a": 1}, FLOATS, 4) as writer:
            writer.append(numbers(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(root) == []


def test_too_few_rows_are_an_error(root: Path, store: FeatureStore) -> None:
    """A short entry is not kept and the block does not end silently."""
    with pytest.raises(ValueError, match="3 rows appended to an entry of 4"), store.create({"a": 1}, FLOATS, 4) as writer:
        writer.append(numbers(3))
    assert contents(root) == []


@pytest.mark.parametrize(
    ("wrong_BE", "reason"),
    [
        (numbers(5), r"^0 \+ 5 rows appended to an entry of 4"),
        (numbers(2, RowType("float32", 4)), "wanted"),
        (numbers(2, RowType("uint8", 3)), "wanted"),
        (numbers(1)[0], "wanted"),
    ],
)
def test_rows_of_another_kind_or_number_are_an_error(root: Path, store: FeatureStore, wrong_BE: Array, reason: str) -> None:
    """Too many rows, another length, another type or a single row: refused, never cast."""
    with pytest.raises(ValueError, match=reason), store.create({"a": 1}, FLOATS, 4) as writer:
        writer.append(wrong_BE)
    assert contents(root) == []


def test_notes_that_are_not_json_are_an_error(root: Path, store: FeatureStore) -> None:
    """NaN has no JSON; the entry is not kept."""
    with pytest.raises(ValueError, match="JSON"):
        write(store, {"a": 1}, numbers(4), seconds=float("nan"))
    assert contents(root) == []


def test_notes_survive_whatever_json_makes_of_them(store: FeatureStore) -> None:
    """Tuples become lists and numbered keys text, as JSON has it; the entry is not taken for damaged."""
    write(store, {"shape": (3, 4)}, numbers(4), per_view={10: "b", 9: "a"}, shape=(1, 2))
    assert found(store, {"shape": [3, 4]}).about == {"per_view": {"10": "b", "9": "a"}, "shape": [1, 2]}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """The message names the folder and what to do."""
    (tmp_path / "file").touch()
    store = FeatureStore(tmp_path / "file" / "features", max_gib=1)
    with (
        pytest.raises(StoreError, match=r"file/features: .*free disk space.*cache_dir=.*store\.max_gib=0") as caught,
        store.create({}, FLOATS, 1),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(root: Path, store: FeatureStore) -> None:
    """A real process that may write no file beyond 1 MiB gets a StoreError in the middle of appending."""
    fill = """
import resource
from harness.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    with store.create({"a": 1}, RowType("uint8", 2**20 - 200), 4) as writer:
        for row in range(4):
            writer.append(np.zeros((1, 2**20 - 200), np.uint8))
except StoreError as error:
    print(row, error)
"""
    said = start(fill, root).communicate()[0].strip()
    assert said.startswith(f"1 {root}: ")
    assert len(said.splitlines()) == 1
    assert contents(root) == []
    assert store.find({"a": 1}) is None


def test_an_entry_can_be_read_after_it_was_evicted(root: Path) -> None:
    """Another process may need the room; who holds the entry goes on reading."""
    holder = FeatureStore(root, max_gib=1 / 1024)
    write(holder, {"a": 1}, numbers(1, MIB_ROW))
    entry = found(holder, {"a": 1})
    write(FeatureStore(root, max_gib=1 / 1024), {"a": 2}, numbers(1, MIB_ROW, seed=2))
    assert holder.find({"a": 1}) is None
    np.testing.assert_array_equal(entry.read(slice(None)), numbers(1, MIB_ROW))


def test_rows_are_hashed_once_per_store(root: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job opens the same entry several times and pays for the proof once; the writer has it already."""
    import hashlib

    hashed = []
    digest = hashlib.file_digest
    monkeypatch.setattr("hashlib.file_digest", lambda file, name: hashed.append(name) or digest(file, name))  # type: ignore[func-returns-value]
    write(store, {"a": 1}, numbers(4))
    found(store, {"a": 1})
    assert hashed == []
    reader = FeatureStore(root, max_gib=1)
    found(reader, {"a": 1})
    found(reader, {"a": 1})
    assert hashed == ["sha256"]


@pytest.mark.parametrize("row_bytes", [4096, 300 * 1024])
def test_memory_stays_bounded_when_a_large_entry_is_read_at_random(root: Path, row_bytes: int) -> None:
    """A process of its own reads 300 MiB in small random batches and a long slice; its peak grows by far less than that."""
    measure = f"""
from harness.features.entry import Entry
row_bytes = {row_bytes}
num_rows = 300 * 2**20 // row_bytes

def peak_mib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

batch = np.zeros((2**20 // row_bytes + 1, row_bytes), np.uint8)
with store.create({{}}, RowType("uint8", row_bytes), num_rows) as writer:
    for start in range(0, num_rows, len(batch)):
        writer.append(batch[: num_rows - start])
before = peak_mib()
entry = FeatureStore(Path(sys.argv[1]), max_gib=1).find({{}})
for rows in np.array_split(np.random.default_rng(0).permutation(num_rows), num_rows // 16 + 1):
    entry.read(rows)
entry.read(slice(0, 20 * 2**20 // row_bytes))
print(peak_mib() - before)
"""
    assert float(start(measure, root).communicate()[0]) < 110


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), max_size=8), st.data())
def test_any_split_into_batches_reads_back_in_any_order(sizes: list[int], data: st.DataObject) -> None:
    """Neither the batches in which rows came nor the order in which they are read shows."""
    values_NE = numbers(sum(sizes), RowType("uint16", 5))
    bounds = np.cumsum([0, *sizes])
    indices = st.integers(-len(values_NE), len(values_NE) - 1)
    rows_B = np.array(data.draw(st.lists(indices, max_size=40)) if len(values_NE) else [], dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), max_gib=1)
        with store.create({"sizes": sizes}, RowType("uint16", 5), len(values_NE)) as writer:
            for first, last in pairwise(bounds):
                writer.append(values_NE[first:last])
        entry = found(FeatureStore(Path(folder), max_gib=1), {"sizes": sizes})
        np.testing.assert_array_equal(entry.read(rows_B), values_NE[rows_B])
        assert json.loads(next(Path(folder).glob("*/entry.json")).read_text())["address"] == {"sizes": sizes}


def test_the_store_needs_no_torch() -> None:
    """The parent of a sweep may look into the store without the second that importing torch takes."""
    script = "import sys; import harness.features.store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_entry_can_be_checked_without_using_it(root: Path, store: FeatureStore, damage: Any) -> None:
    """Good ones have no reason, damaged ones stay where they are, also for whoever has just written them."""
    write(store, {"a": 1}, numbers(20), seconds=1.5)
    write(store, {"a": 2}, numbers(20), seconds=1.5)
    write(store, {"a": 3}, numbers(0))
    assert [reason for _, reason in store.verify()] == [None] * 3
    hit = next(path for path in contents(root) if '"a": 1' in (path / "entry.json").read_text())
    damage(hit)
    reasons = dict(FeatureStore(root, max_gib=0).verify())
    assert DAMAGES[damage] in str(reasons.pop(hit))
    assert list(reasons.values()) == [None, None]
    assert hit.exists()


def test_a_store_that_was_never_used_has_nothing_to_check(root: Path, store: FeatureStore) -> None:
    """And is not made by looking."""
    assert list(store.verify()) == []
    assert not root.parent.exists()
