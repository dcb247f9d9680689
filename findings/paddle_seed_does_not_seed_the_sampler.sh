#!/usr/bin/env bash
# `paddle.seed` does not decide in which order a DataLoader shuffles.
#
# One would guess that a script that calls `paddle.seed(7)` first reads its data in the same order in every run. The
# sampler draws its permutation from NumPy's global generator: the order changes although Paddle is seeded, and is the
# same again only where `numpy.random.seed` was called. Seen with paddlepaddle 3.2.2.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q paddlepaddle==3.2.2 numpy==2.4.6
cat >order.py <<'PY'
import sys

import numpy as np
import paddle
from paddle.io import DataLoader, Dataset


class Numbers(Dataset):
    def __getitem__(self, place: int) -> int:
        return place

    def __len__(self) -> int:
        return 16


paddle.seed(7)
if sys.argv[1] == "numpy":
    np.random.seed(7)
weights = paddle.rand([2]).numpy().tolist()
order = [int(np.asarray(batch).ravel()[0]) for batch in DataLoader(Numbers(), shuffle=True, batch_size=1)]
print(paddle.__version__, weights, order)
PY
run() { venv/bin/python -W ignore order.py "$1" 2>/dev/null | tail -1; }
paddle_only=("$(run paddle)" "$(run paddle)")
with_numpy=("$(run numpy)" "$(run numpy)")
printf 'Paddle seeded:           %s\n' "${paddle_only[@]}"
printf 'NumPy seeded as well:    %s\n' "${with_numpy[@]}"
[[ ${#paddle_only[0]} -gt 20 && ${paddle_only[0]%%]*} == "${paddle_only[1]%%]*}" ]] # the weights are the same
[[ ${paddle_only[0]} != "${paddle_only[1]}" ]] || { echo "the order is seeded now"; exit 1; }
[[ ${with_numpy[0]} == "${with_numpy[1]}" ]]
