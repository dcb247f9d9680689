#!/usr/bin/env bash
# Paddle's batch norm keeps the batch's biased variance as running variance; PyTorch, whose weights it often loads, does
# not, and the two count momentum the other way round.
#
# One would guess that a recipe carries over with its momentum turned round (0.9 for 0.1). The running variance still
# differs: Paddle divides by n, PyTorch by n - 1. Of values 0 and 2 the one keeps 1, the other 2; with n values per
# channel the ratio is n / (n - 1), and shows where batches are small and maps are small. Seen with paddlepaddle 3.2.2.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q paddlepaddle==3.2.2 numpy==2.4.6
venv/bin/python -W ignore - <<'PY'
import numpy as np
import paddle

print("Paddle", paddle.__version__)
for values in ([0.0, 2.0], [0.0, 2.0, 4.0, 10.0]):
    norm = paddle.nn.BatchNorm1D(1, momentum=0.0)  # the share of the OLD statistics: nothing of them is kept
    norm.train()
    norm(paddle.to_tensor(np.array(values, np.float32)[:, None]))
    kept = float(norm._variance.numpy()[0])
    biased, unbiased = np.var(values), np.var(values, ddof=1)
    print(f"of {values}: running variance {kept:.4f}; divided by n {biased:.4f}, by n - 1 {unbiased:.4f}")
    assert abs(kept - np.var(values)) < 1e-4, "no longer the biased one"
PY
