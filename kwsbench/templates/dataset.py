"""my-plugin: a data set. It runs as it stands, on tones that stand for words.

Make it yours, then:

    kwsbench check my_plugin.py
    kwsbench run --plugin my_plugin.py --dataset my-plugin --encoder mfcc

A folder of your own recordings needs no plugin: write manifest.tsv and name it, --dataset manifest:path=FOLDER.
"""

import numpy as np
import soundfile

import kwsbench
from kwsbench.paths import cache_dir
from kwsbench.types import Clip, Dataset, no_progress

WORDS = {"low": 200, "middle": 330, "high": 520}
SPEAKERS = {"ana": 1.0, "ben": 1.15, "eva": 1.3}


class MyPlugin:
    """Three words by three speakers, as tones."""  # what `kwsbench plugins` prints

    def __init__(self, *, seconds: float = 0.5):  # set by my-plugin:seconds=1, read by the annotation
        if not 0.1 <= seconds <= 10:
            raise kwsbench.KwsbenchError(f"my-plugin:seconds={seconds} must be from 0.1 to 10")
        self.seconds = seconds
        # Made once, kept in the cache. What is made otherwise must lie elsewhere: raise the 1 with your recipe.
        self.folder = cache_dir() / "my-plugin" / f"1-{seconds}"

    @property
    def prepared(self):
        """Whether load() can answer without fetching or making anything."""
        return (self.folder / "done").is_file()

    def load(self, progress=no_progress):
        """The Dataset, prepared first where that is needed."""
        clips = []
        for speaker, pitch in SPEAKERS.items():
            for word, hz in WORDS.items():
                path = self.folder / f"{word}-{speaker}.wav"
                if not self.prepared:  # fetch or decode yours here
                    progress("making tones", len(clips), len(SPEAKERS) * len(WORDS))
                    _write_tone(path, hz=hz * pitch, seconds=self.seconds)
                # A recording is never searched for a query that was cut out of it. keyword: the clip is that
                # word and nothing else, so it can be a query. transcript: all the words said.
                clips.append(Clip(path.stem, path, speaker=speaker, recording=path.stem, keyword=word, transcript=word))
        (self.folder / "done").touch()
        return Dataset("my-plugin", tuple(clips), language="")  # an ISO 639 code: tables mark encoders that heard it


def _write_tone(path, *, hz, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * 16_000)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * t) + 0.05 * np.sin(6.2 * np.pi * hz * t), 16_000)


@kwsbench.hookimpl
def register_datasets(register):
    register("my-plugin", MyPlugin)
