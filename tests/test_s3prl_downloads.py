"""s3prl's downloads: one line where one fails, the file by name and digest, and nothing drawn."""

import hashlib
import os

import numpy as np
import pytest

from kwsbench_plugins import s3prl_loading
from kwsbench_plugins.s3prl import s3prl
from tests.s3prl_upstreams import error_of, raw
from tests.tiny_models import noise

pytest.importorskip("s3prl", reason="the extra s3prl is not installed")
pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture
def downloads(tmp_path):
    """s3prl's download folder, for the while."""
    from s3prl.util import download

    before = download._download_dir  # noqa: SLF001 - get_dir() would make the folder
    download.set_dir(tmp_path / "downloads")
    yield tmp_path / "downloads"
    download.set_dir(before)


def test_a_download_that_fails_is_one_line(downloads, monkeypatch):
    """A proxy where nobody listens stands for a machine without a network."""
    for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(key, "http://127.0.0.1:9")
    for key in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(key, raising=False)
    message = error_of(upstream="apc")
    assert message.startswith(
        "s3prl:upstream=apc: https://huggingface.co/leo19941227/apc_series/resolve/main/apc_360hr"
    )
    assert "could not be downloaded (" in message
    assert message.endswith("give ckpt=FILE with upstream=apc_local")
    assert error_of(upstream="modified_cpc").endswith("give ckpt=FILE with upstream=cpc_local")


def test_what_was_downloaded_is_named(downloads, s3prl_ckpts):
    """A file that lies where s3prl's downloader puts it is not fetched again; it is named, and its digest taken."""
    url = "https://huggingface.co/leo19941227/apc_series/resolve/main/apc_360hr.ckpt"
    name = f"{hashlib.sha256(url.encode()).hexdigest()}.apc_360hr.ckpt"
    downloads.mkdir()
    content = s3prl_ckpts["apc_local"].read_bytes()
    (downloads / name).write_bytes(content)
    encoder = s3prl(upstream="apc")
    assert encoder.provenance["checkpoint"] == name
    assert encoder.provenance["checkpoint sha256"] == hashlib.sha256(content).hexdigest()
    wave = noise(8000)
    np.testing.assert_array_equal(encoder.encode(wave, ["2"])["2"], raw("apc_local", s3prl_ckpts["apc_local"], wave)[2])


def test_a_download_draws_nothing(downloads, s3prl_ckpts, capsys):
    """From a file:// address, through the same function as every other."""
    from s3prl.util import download

    url = s3prl_ckpts["apc_local"].as_uri()
    with s3prl_loading._silence("apc"), s3prl_loading._downloads("apc", "apc") as files:  # noqa: SLF001
        path = download._urls_to_filepaths(url)  # noqa: SLF001 - what the hubconfs call
    assert [str(file) for file in files] == [path]
    assert files[0].read_bytes() == s3prl_ckpts["apc_local"].read_bytes()
    assert capsys.readouterr() == ("", "")
    os.utime(path, (0, 0))  # s3prl fetches again only what is older than two seconds
    download._urls_to_filepaths(url, refresh=True)  # noqa: SLF001
    assert "Downloading" in capsys.readouterr().err
