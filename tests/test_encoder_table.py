"""The table of docs/encoders.md says what is measured here and now, of every encoder that there is."""

import re

import pytest

from kwsbench import plugins

pytest.importorskip("s3prl", reason="the extra s3prl is not installed")
pytestmark = pytest.mark.usefixtures("single_thread")


def test_the_table_is_what_is_measured():
    from tests import encoder_table

    measured = encoder_table.render()
    assert measured == encoder_table.shown(), "stale; write it with: python -m tests.encoder_table"
    assert not re.search("WRONG|DIFFER|UNKNOWN", measured)


def test_every_encoder_is_in_it():
    """Those that need a checkpoint of the user's are there as an example of each, hf as the models that it loads."""
    from tests import encoder_table

    named = {parts[1] for parts in re.findall(r"^\| (`([^`:]+))", encoder_table.shown(), flags=re.MULTILINE)}
    generic = {"hf", "whisper", "w2v-bert"}
    assert named | generic == set(plugins.load().plugins["encoders"]) | {"whisper"}
