"""Which URL stands behind a path, and the other way round."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.files import place
from harness.files.place import MIRRORS, as_typed, local_folder, require_store, tag_of, url_of

PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: text not in {".", ".."}
)


@given(st.lists(PART, min_size=1, max_size=5), st.lists(PART, max_size=3))
def test_each_follows_from_the_other(parts: list[str], below: list[str]) -> None:
    """Of any folder and of everything below it, for every process alike."""
    url = f"s3://{'/'.join(parts)}"
    path = local_folder(url)
    assert url_of(path) == as_typed(path) == url
    assert url_of(path.joinpath(*below)) == "/".join([url, *below])
    assert local_folder(str(path)) == path  # who types the mirror means the bucket
    assert place.mirrors() in tag_of(path).parents
    assert url_of(tag_of(path)) is None


def test_other_paths_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, also a relative one; `file://` is one; the folder of the mirrors stands for nothing itself."""
    monkeypatch.setenv(MIRRORS, str(tmp_path / "mirror"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert local_folder("results") == Path("results")
    assert local_folder("~/results") == tmp_path / "results"
    assert local_folder(f"file://{tmp_path}/results") == tmp_path / "results"
    for path in (Path("results"), tmp_path, tmp_path / "mirror", tmp_path / "mirror" / "s3", tmp_path / "mirror-2" / "s3" / "a"):
        assert url_of(path) is None
    assert url_of(Path("mirror/s3/bucket/a")) == "s3://bucket/a"


@pytest.mark.parametrize("text", ["http://a/b", "s3://", "s3://bucket/../other", "s3://bucket//a", "file://host/a", "S3://bucket", "://a"])
def test_addresses_of_nothing_are_refused(text: str) -> None:
    """In one line that says what is taken; nothing leads out of the folder of mirrors."""
    with pytest.raises(ConfigError, match=rf"results_dir={re.escape(text)}: is no address.*s3://BUCKET/FOLDER.*\.$") as caught:
        local_folder(text)
    assert "\n" not in str(caught.value)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it, before anything is asked."""
    monkeypatch.setattr(place, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"results_dir=gs://a/b: needs the package gcsfs.*pip install 'model-selection-harness\[gcs\]'"):
        local_folder("gs://a/b")
    with pytest.raises(ConfigError, match=r"store\.shared=s3://a: needs the package s3fs.*\[s3\]"):
        require_store("store.shared", "s3://a")
    with pytest.raises(ConfigError, match=r"store\.shared=/tmp/a: not allowed; store\.shared takes s3://"):
        require_store("store.shared", "/tmp/a")
