"""Does DARTS compute the same numbers as at another commit? Six steps there and here, compared.

    python tools/same_numbers.py ca4ae6e
    python tools/same_numbers.py HEAD --threads 2

Searches on noise, with every gradient: the plain form in float32, whose w and alpha have to be
equal to the bit, and the fast form in float64, equal to 1e-10. Nothing is stored, since sums differ
between processors: both are made now, on this machine, one after the other.
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
GRADIENTS = ("one_level", "first_order", "finite_difference", "exact")
FORMS = ("plain", "fast")
STEPS = 6
TOLERANCE = {"plain": 0.0, "fast": 1e-10}

# What runs in both checkouts; of the later names it uses none that the earlier one lacks.
CODE = """
import os, sys
import torch
torch.set_num_threads(int(sys.argv[2]))
from dartslib import fast
assert os.path.realpath(fast.__file__).startswith(os.getcwd()), "another dartslib is imported"
from dartslib.searching import Search, SearchConfig

class Noise:
    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(6, 8, 3, 12, 12, generator=generator)
        self.labels = torch.randint(10, (6, 8), generator=generator)
    def __len__(self):
        return len(self.images)
    def at(self, step):
        return self.images[step % 6].to(torch.get_default_dtype()), self.labels[step % 6]

word = "gradient" if "gradient" in SearchConfig.model_fields else "method"
found = {}
for form, dtype in (("plain", torch.float32), ("fast", torch.float64)):
    torch.set_default_dtype(dtype)
    for name in ("one_level", "first_order", "finite_difference", "exact"):
        config = SearchConfig(nodes=2, layers=3, channels=4, head="linear", epochs=1, alpha_lr=0.1,
                              alpha_init_std=1e-3, **{word: name})
        search = Search(config, Noise(0), Noise(1), image_size=12)
        for alpha in search.architecture.alpha:
            alpha.data = alpha.data.to(dtype)
        if form == "fast" and name != "exact":
            fast.accelerate(search.supernet)
        for _ in search.each_step():
            pass
        found[form, name] = [t.detach() for t in (*search.w, *search.architecture.alpha)]
torch.save(found, sys.argv[1])
"""


def steps(checkout: Path, threads: int) -> dict[tuple[str, str], list[torch.Tensor]]:
    """(form, gradient) -> w and alpha after the steps, by the code of a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.pt"
        command = [sys.executable, "-c", CODE, str(out), str(threads)]
        subprocess.run(
            command, check=True, cwd=checkout.resolve(), env={"PYTHONPATH": str(checkout)}
        )
        return torch.load(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", help="the other commit")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    archive = subprocess.run(
        ["git", "archive", options.commit, "dartslib"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as there:
        tarfile.open(fileobj=io.BytesIO(archive)).extractall(there, filter="data")
        before = steps(Path(there), options.threads)
    now = steps(ROOT, options.threads)
    failed = False
    for form, gradient in sorted(before, reverse=True):
        pairs = list(zip(before[form, gradient], now[form, gradient], strict=True))
        largest = max(float((a - b).abs().max()) for a, b in pairs)
        numbers = sum(a.numel() for a, _ in pairs)
        good = largest <= TOLERANCE[form]
        failed |= not good
        said = "equal to the bit" if largest == 0 else f"differ by up to {largest:.1e}"
        print(f"{form:6}{gradient:18} {STEPS} steps, {numbers:,} numbers: {said}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
