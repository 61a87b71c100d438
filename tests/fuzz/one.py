"""Fuzz one target until its time is over: `python -m tests.fuzz.one TARGET FOLDER [libFuzzer's options]`."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bpfcompat", "elftools"]):
    from tests.fuzz.targets import TARGETS, seeds

target, folder = sys.argv[1], Path(sys.argv[2])
corpus = folder / "corpus"
corpus.mkdir(parents=True, exist_ok=True)
for number, seed in enumerate(seeds(target)):
    (corpus / f"seed-{number}").write_bytes(seed)
options = [f"-artifact_prefix={folder}/", "-timeout=10", "-rss_limit_mb=1500", "-max_len=16384", *sys.argv[3:]]
atheris.Setup([sys.argv[0], str(corpus), *options], TARGETS[target])
atheris.Fuzz()
