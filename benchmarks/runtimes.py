"""What each runtime and precision takes for a clip: PP-TSM R50 and PP-TSMv2, with random weights.

    python benchmarks/runtimes.py [NAME ...]     # about 3 minutes; a table for docs/log

Random weights cost what trained ones do; instead of accuracy the table has agreement on random clips. The ways take
turns, run by run, on all cores, so that other work falls on all alike: ratios count. `best exact` is the faster of the
runtimes in float32. To expect, on a processor with VNNI and AVX512_BF16, of ONNX Runtime's time in float32: R50 in int8
at most 0.33, in bfloat16 at most 0.55; PP-TSMv2 in int8 at most 0.45.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from measure import machine
from pptsm.deploy.quantize import quantise
from pptsm.deploy.runtimes import Gate, Row, files_at, table
from pptsm.evaluation.model_file import read_exported
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.package_folder import INT8_FILE
from v2_latency import NAMES, exported

CALIBRATION_CLIPS = 8


def rows_of(name: str, folder: Path) -> list[Row]:
    """All ways to compute a known network."""
    file, shape = exported(name, folder)
    metadata = ModelMetadata.of_file(file)
    clips = np.random.default_rng(2).standard_normal((CALIBRATION_CLIPS, *shape)).astype(np.float32)
    int8 = folder / INT8_FILE
    quantise(read_exported(file), metadata, list(clips), int8)
    return table(files_at(file, int8), metadata.clip, metadata.clip.sampling, None, Gate(0.3, 0.99), 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=NAMES[:2])
    arguments = parser.parse_args()
    print(f"{machine()}\n")
    print("| network | runtime | precision | ms (median) | 95th percentile | ratio | agreement | start s | MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.names:
        with tempfile.TemporaryDirectory() as scratch:
            rows = rows_of(name, Path(scratch))
        for row in rows:
            ratio = row.ms_p50 / rows[0].ms_p50
            print(
                f"| {name} | {row.runtime} | {row.precision} | {row.ms_p50:.1f} | {row.ms_p95:.1f} | {ratio:.2f} | "
                f"{row.agreement:.0%} | {row.start_sec:.2f} | {row.size_mb:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
