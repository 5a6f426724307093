"""Many image files in a few texts."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.file_images import Texts


@given(st.lists(st.text()))
def test_texts_are_a_list(texts: list[str]) -> None:
    """By place from either end, by slice, in order, and after a journey; whatever letters they are of."""
    found = pickle.loads(pickle.dumps(Texts.of(texts)))
    assert list(found) == [found[place] for place in range(len(texts))] == texts
    assert found[1:] == texts[1:]
    assert found[::-2] == texts[::-2]
    if texts:
        assert found[-1] == texts[-1]
    for beyond in (len(texts), -len(texts) - 1):
        with pytest.raises(IndexError):
            found[beyond]
