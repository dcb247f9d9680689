#!/usr/bin/env bash
# What each part of the recipe brings: one DVC experiment a part, trained without a teacher, same seed.
#
#   benchmarks/ablation.sh [EPOCHS]        in a committed checkout whose `dvc repro` is up to date
#
# Cost on two CPU cores: about 2 minutes an experiment on `motion`, 4 on `weizmann` (5 epochs), nine experiments.
# The table at the end counts videos of the evaluated split; intervals are Wilson's, 95 %.
set -euo pipefail
epochs=${1:-5}
mkdir -p .pptsm
base=(-S teacher.enabled=false -S student.distillation_weight=0.0 -S "student.epochs=$epochs")
variants=(
    "base"
    "no-shift -S model.shift=false"
    "relu -S model.activation=relu"
    "no-label-smoothing -S training.label_smoothing=0.0"
    "mixup -S training.mix=mixup"
    "no-precise-bn -S training.precise_bn_every=0"
    "bn-decay -S training.decay_norm_and_bias=true"
    "plain-tsm -S model.network=tsm -S model.activation=relu"
    "head-lr-1 -S training.head_weight_lr=1.0 -S training.head_bias_lr=1.0"
)
for variant in "${variants[@]}"; do
    read -r name options <<<"$variant"
    git checkout -q -- params.yaml dvc.lock
    # shellcheck disable=SC2086  # options are words
    dvc exp run -n "ablation-$name" "${base[@]}" $options >".pptsm/ablation-$name.log" 2>&1 || echo "$name failed"
    python - "$name" <<'PY'
import json, sys
student = json.load(open("reports/evaluation/metrics.json"))["student"]
cells = [f"{v['top1']:.1%} ({v['top1_low']:.1%}-{v['top1_high']:.1%})" for v in (student["uniform"], student["dense"])]
print("|", sys.argv[1], "|", " | ".join(cells), "|", flush=True)
PY
done
git checkout -q -- params.yaml dvc.lock
dvc checkout -q
