"""How prompts is prepared: packages fetched and decoded, killed, resumed, refused."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from kwsbench.errors import KwsbenchError
from kwsbench_datasets import prompts
from kwsbench_datasets.prompts import build, decode, fetch

needs_apt = pytest.mark.skipif(
    not shutil.which("apt-get"), reason="no apt-get here: the recordings come from Debian's packages"
)

# A source of one small package, so that a whole preparation takes a second.
SMALL = build.Sources(
    packages={"asterisk-prompt-es-co": build.read_sources().packages["asterisk-prompt-es-co"]},
    voices={
        "es": (
            build.Voice("one", "asterisk-prompt-es-co", "usr/share/asterisk/sounds/es/", ".gsm", "file-names"),
            build.Voice("two", "asterisk-prompt-es-co", "usr/share/asterisk/sounds/es/digits/", ".gsm", "file-names"),
        )
    },
)


def test_trimming_keeps_a_tenth_of_a_second_around_speech_and_leaves_hum_out():
    rng = np.random.default_rng(0)
    t = np.arange(32_000) / 16_000
    samples = (0.2 * np.sin(2 * np.pi * 20 * t)).astype(np.float32)
    samples[8_000:16_000] += rng.normal(0, 0.2, 8_000).astype(np.float32)
    samples[100] += 0.9  # a click
    assert len(decode.trim(samples)) == pytest.approx(8_000 + 2 * 1_600, abs=320)
    assert len(decode.trim(np.zeros(5_000, np.float32))) == 5_000


def test_what_is_no_audio_is_named():
    for suffix in (".ogg", ".wav", ".g722", ".gsm"):
        with pytest.raises(KwsbenchError, match=rf"pkg: a{suffix} .*fetch its package again"):
            decode.decode(b"", f"pkg: a{suffix}")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The small source, prepared into a folder with an awkward name."""
    monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / "a cache, ŋ 'quoted'"))
    return prompts.Prompts("es", 4, sources=SMALL)


def everything(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def build_small(source):
    """All of a preparation but the check that there is something to score: one voice has no second one."""
    source._prepare(lambda *_: None)  # noqa: SLF001
    return everything(source.folder)


@needs_apt
def test_a_killed_preparation_leaves_nothing_half_done_and_goes_on(small, monkeypatch):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.test_prompts_preparation import SMALL, prompts\n"
        "source = prompts.Prompts('es', 4, sources=SMALL)\n"
        "source._prepare(lambda what, done, total: print(what, done, flush=True))\n"
    )
    root = prompts.HERE.parents[1]
    command = [sys.executable, "-c", script, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("decoding one") and int(line.split()[-1]) >= 20:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not small.prepared
    partial = small.folder.with_name(f".{small.folder.name}.partial")
    assert len(everything(partial)) >= 20
    with monkeypatch.context() as context:  # the package was kept: no second download
        context.setenv("PATH", os.pathsep.join(folder_with(small.folder.parent, "dpkg-deb")))
        resumed = build_small(small)
    assert small.prepared
    assert not partial.exists()
    shutil.rmtree(small.folder.parent / "debs")
    small.folder.rename(small.folder.with_name("first"))
    assert build_small(small) == resumed


def folder_with(parent, *commands):
    """A folder for PATH that holds these commands only, and the shell's usual ones that they call."""
    folder = parent / "bin"
    folder.mkdir(exist_ok=True)
    for command in (*commands, "tar", "rm", "xz", "gzip", "zstd"):
        if shutil.which(command) and not (folder / command).exists():
            (folder / command).symlink_to(shutil.which(command))
    return [str(folder)]


@needs_apt
def test_two_processes_prepare_once(small):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.test_prompts_preparation import SMALL, prompts\n"
        "prompts.Prompts('es', 4, sources=SMALL)._prepare(lambda *a: None)\n"
    )
    command = [sys.executable, "-c", script, str(prompts.HERE.parents[1])]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert small.prepared


@needs_apt
def test_a_system_without_lists_gets_its_own_and_touches_nothing(tmp_path, monkeypatch):
    """As on a machine that never ran apt-get update: the system's lists are hidden from apt-get."""
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    (tmp_path / "no lists").mkdir()
    (tmp_path / "apt.conf").write_text(f'Dir::State::lists "{tmp_path / "no lists"}";\n')
    package = SMALL.packages["asterisk-prompt-es-co"]
    debs = fetch.fetch([package], tmp_path / "prompts" / "debs", lambda *_: None)
    assert debs[package.name].version == package.version
    assert {path.name for path in (tmp_path / "no lists").iterdir()} <= {"lock", "partial"}


@needs_apt
def test_a_package_of_another_version_is_used_and_said_aloud(small):
    package = SMALL.packages["asterisk-prompt-es-co"]
    other = build.Sources({package.name: package._replace(version="0.1", sha256="0" * 64)}, SMALL.voices)
    source = prompts.Prompts("es", 4, sources=other)
    build_small(source)
    notes = (source.folder / "prepared.json").read_text(encoding="utf-8")
    assert f"{package.version} (not the pinned 0.1: scores may differ)" in notes


@needs_apt
def test_a_wrong_checksum_at_the_pinned_version_is_an_error(tmp_path):
    package = SMALL.packages["asterisk-prompt-es-co"]._replace(sha256="0" * 64)
    with pytest.raises(KwsbenchError, match=r"asterisk-prompt-es-co 0\.20070403-2\.1: sha256 \w{12}…, expected 0{12}…"):
        fetch.fetch([package], tmp_path / "debs", lambda *_: None)
    assert not list((tmp_path / "debs").glob("*.deb"))


@needs_apt
def test_a_damaged_package_in_the_cache_is_fetched_again(tmp_path):
    package = SMALL.packages["asterisk-prompt-es-co"]
    path = fetch.fetch([package], tmp_path, lambda *_: None)[package.name].path
    path.write_bytes(path.read_bytes()[:1000])
    assert fetch.sha256(fetch.fetch([package], tmp_path, lambda *_: None)[package.name].path) == package.sha256


@needs_apt
def test_without_a_network_the_error_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    (tmp_path / "apt.conf").write_text(
        f'Dir::State::lists "{tmp_path}"; Dir::Etc::sourcelist "{tmp_path / "sources.list"}";'
        f'Dir::Etc::sourceparts "-";\n'
    )
    (tmp_path / "sources.list").write_text("deb http://127.0.0.1:9/debian bookworm main\n")
    with pytest.raises(KwsbenchError) as caught:
        fetch.fetch(list(SMALL.packages.values()), tmp_path / "prompts" / "debs", lambda *_: None)
    message = str(caught.value)
    assert message.startswith("asterisk-prompt-es-co could not be fetched by apt-get (")
    assert "fsdd:path=DIR" in message
    assert "\n" not in message


def test_without_apt_get_the_error_names_what_to_use_instead(small, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(KwsbenchError) as caught:
        small.load()
    assert str(caught.value) == (
        "prompts needs apt-get, which this system has not; "
        "use fsdd:path=DIR, or your own recordings with manifest:path=DIR"
    )


def test_nothing_is_prepared_before_it_is_asked_for(small):
    start = time.perf_counter()
    assert not small.prepared
    assert not small.folder.parent.exists()
    assert time.perf_counter() - start < 1
