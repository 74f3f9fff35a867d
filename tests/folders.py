"""Folders of recordings and annotations, and what an archive tells of them."""

from tests.annotated import write_eaf


def told(found):
    """Problems or notes as (file name, tier, message)."""
    return [(one.path.name, one.tier, one.message) for one in found]


def owners(archive):
    """Annotation file → the recording that it was taken for."""
    return {t.path.name: recording.name for recording in archive.recordings for t in recording.transcriptions}


def one_word(path, media=(), text="ma", end_s=0.4):
    return write_eaf(path, {"words": ("Ana", [(0.1, end_s, text)])}, media=media)
