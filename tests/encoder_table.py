"""The table of docs/encoders.md, measured: python -m tests.encoder_table writes it, a test checks it.

Every registered name is made as a user makes it. Where its weights do not travel with kwsbench, a tiny
untrained model of the same family and front end stands in for them (``path=DIR``).
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from kwsbench import plugins, testing
from kwsbench.spec import parse
from kwsbench_plugins import mel_checkpoints
from kwsbench_plugins.checkpoints import KNOWN
from kwsbench_plugins.torchaudio_extension import make_torchaudio_importable
from tests.tiny_models import STABLE, TINY, noise, save_tiny, save_whisper

PAGE = Path(__file__).parents[1] / "docs" / "encoders.md"
BEGIN, END = "<!-- written by python -m tests.encoder_table -->", "<!-- end of the table -->"
HEADER = ["name", "loads", "layers", "dims", "every", "first at", "frames of n samples", "batches", "times", "s3prl"]

RULES = {
    "(n − 400) // 160 + 1": lambda n: (n - 400) // 160 + 1,
    "(n − 400) // 320 + 1": lambda n: (n - 400) // 320 + 1,
    "⌈n / 160⌉": lambda n: math.ceil(n / 160),
    "⌈n / 320⌉": lambda n: math.ceil(n / 320),
    "(n + 1) // 160": lambda n: (n + 1) // 160,
    "((n − 400) // 160 + 1) // 2": lambda n: ((n - 400) // 160 + 1) // 2,
}

OURS = ("mfcc", "fbank", "nano-hubert", "nano-wav2vec2")
EXACT = 1e-5
"""What products of another shape may change of a feature's size: some ten roundings of float32."""


def tiny_directory(folder, known):
    """A tiny model of a published one's type and front end."""
    layer_norm = known.config.get("feat_extract_norm") == "layer"
    kind = known.model_type + ("-stable" if layer_norm else "")
    changes = {"conv_bias": True} if known.config.get("conv_bias") else {}
    with quiet():
        save_tiny(folder, kind, normalize=known.normalize, **changes)
    return folder


def save_w2v_bert(folder):
    """A tiny w2v-BERT 2.0."""
    import transformers

    shape = {k: TINY[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    with quiet():
        torch.manual_seed(0)
        config = transformers.Wav2Vec2BertConfig(**shape, feature_projection_input_dim=160, add_adapter=False)
        transformers.Wav2Vec2BertModel(config).save_pretrained(folder)
        transformers.SeamlessM4TFeatureExtractor().save_pretrained(folder)
    return folder


def save_ctc(folder):
    """A tiny wav2vec 2.0 with a CTC head."""
    import transformers

    with quiet():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model("wav2vec2", **(TINY | STABLE), vocab_size=30)
        transformers.AutoModelForCTC.from_config(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}), encoding="utf-8")
    return folder


def specs(folder):
    """(name in the table, what to create, what was loaded, the same model's directory for s3prl or None)."""
    for name in OURS:
        yield name, name, "its own weights" if name.startswith("nano") else "needs none", None
    for known in KNOWN:
        directory = tiny_directory(folder / known.name, known)
        comparable = directory if known.model_type in ("hubert", "wav2vec2") else None
        yield known.name, f"{known.name}:path={directory}", "tiny model", comparable
    for known in mel_checkpoints.WHISPER:
        with quiet():
            directory = save_whisper(folder / known.name, mels=128 if known.name == "whisper-large-v3" else 80)
        yield known.name, f"{known.name}:path={directory}", "tiny model", None
    yield "whisper:crop=true", f"whisper:crop=true,path={directory}", "tiny model", None
    for known in mel_checkpoints.W2V_BERT:
        directory = save_w2v_bert(folder / known.name)
        yield known.name, f"{known.name}:path={directory}", "tiny model", None
    yield "ctc", f"ctc:path={save_ctc(folder / 'ctc')}", "tiny model", None
    from tests.s3prl_upstreams import BASELINES, MODELS

    for name in BASELINES:
        yield f"s3prl:upstream={name}", f"s3prl:upstream={name}", "needs none", None
    for name, save in MODELS.items():
        (folder / name).mkdir()
        with quiet():
            file = save(folder / name)
        yield f"s3prl:upstream={name}", f"s3prl:upstream={name},ckpt={file}", "tiny model", file


def row(registry, name, spec, loaded, file):
    """One line of the table, measured."""
    encoder = registry.create("encoders", parse(spec))
    wave = noise(16_000)
    features = encoder.encode(wave, encoder.layers)
    problems = testing.check_encoder(encoder)
    timing = [problem for problem in problems if problem.startswith(("times", "frame"))]
    dims = sorted({values.shape[1] for values in features.values()})
    published = loaded == "tiny model"
    return [
        f"`{name}`",
        loaded,
        span(encoder.layers, published=published),
        "its own" if published else "–".join(map(str, dims)),
        f"{encoder.frame_shift_s * 1000:g} ms",
        f"{encoder.first_centre_s * 1000:.4g} ms",
        frame_rule(encoder),
        batches(encoder),
        "right" if not timing else "WRONG",
        parity(encoder, name, spec, file, features, wave),
    ]


def span(layers, *, published):
    """Names of the layers in short; of a tiny model the last number is not the published one's."""
    numbers = [layer for layer in layers if layer.isdecimal()]
    named = [layer for layer in layers if not layer.isdecimal()]
    last = "N" if published and len(numbers) > 3 else (numbers or [""])[-1]
    return ", ".join([*named, *(["0" if last == "0" else f"0–{last}"] if numbers else [])])


def frame_rule(encoder):
    """The formula that gives the frames of every length tried."""
    layer = list(encoder.layers)[:1]
    shortest = encoder.min_samples
    lengths = [*range(shortest, shortest + 5), *np.random.default_rng(0).integers(shortest, 20_000, 25).tolist()]
    counts = {n: len(encoder.encode(noise(n, seed=n), layer)[layer[0]]) for n in lengths}
    fitting = [rule for rule, count in RULES.items() if all(count(n) == frames for n, frames in counts.items())]
    return fitting[0] if fitting else "UNKNOWN"


def batches(encoder):
    """Which waveforms share a forward pass, and whether that changes nothing."""
    if not hasattr(encoder, "encode_batch"):
        return "one at a time"
    layer = list(encoder.layers)[-1]
    alike = [noise(n, seed=n) for n in (9000, 8800, 8600)]
    equal = [noise(9000, seed=seed) for seed in range(3)]
    padded, same = (
        [
            np.abs(found[layer] - encoder.encode(wave, [layer])[layer]).max() / np.abs(found[layer]).max()
            for wave, found in zip(waves, encoder.encode_batch(waves, [layer]), strict=True)
        ]
        for waves in (alike, equal)
    )
    if max(*padded, *same) > EXACT:
        return "DIFFER"
    return "like lengths, equal" if max(padded) > 0 else "equal lengths, equal"


def parity(encoder, name, spec, file, features, wave):
    """Whether s3prl makes the same features of the same file, to the last bit."""
    if name.startswith("s3prl:"):
        from tests.s3prl_upstreams import raw

        theirs = raw(parse(spec).params["upstream"], file, wave)
        same = all(np.array_equal(features[str(i)], values[: len(features["0"])]) for i, values in enumerate(theirs))
        return "equal" if same else "DIFFERS"
    if file is None:
        return "–"
    upstream = f"hf_{json.loads((file / 'config.json').read_text())['model_type']}_custom"
    peer = plugins.load().create("encoders", parse(f"s3prl:upstream={upstream},ckpt={file}"))
    theirs = peer.encode(wave, peer.layers)
    differing = [layer for layer in peer.layers if not np.array_equal(theirs[layer], features[layer])]
    # Of models with a final norm, s3prl hands out the last layer before it.
    return {0: "equal", 1: "equal, last before its norm"}.get(len(differing), "DIFFERS")


def quiet():
    from tests.s3prl_checkpoints import quiet as silence

    return silence()


def render():
    """The table as Markdown."""
    from tabulate import tabulate

    make_torchaudio_importable()
    torch.set_num_threads(1)
    registry = plugins.load()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(registry, *one) for one in specs(Path(folder))]
    return tabulate(rows, HEADER, tablefmt="github", disable_numparse=True)


def shown():
    """The table that the page has."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{render()}\n\n{END}{after}", encoding="utf-8")
    sys.stderr.write(f"wrote {PAGE}\n")
