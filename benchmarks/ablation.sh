#!/usr/bin/env bash
# What each part of the recipe brings: one DVC experiment a part, trained without a teacher, same seed.
#
#   benchmarks/ablation.sh [EPOCHS [VARIANT ...]]        in a committed checkout whose `dvc repro` is up to date
#
# Cost on two CPU cores: about 2 minutes an experiment on `motion`, 4 on `weizmann` (5 epochs), nine experiments.
# A row a variant: top-1 of the evaluated split, uniform and dense, with Wilson's 95 % intervals; or that it failed
# (.pptsm/ablation-VARIANT.log says why), which makes the exit code 1.
set -euo pipefail
epochs=${1:-5}
mkdir -p .pptsm
base=(-S teacher.enabled=false -S student.distillation.weight=0.0 -S "student.epochs=$epochs")
variants=(
    "base"
    "no-shift -S student.network.shift=false"
    "relu -S student.network.activation=relu"
    "no-label-smoothing -S training.label_smoothing=0.0"
    "mixup -S training.mix=mixup"
    "no-precise-bn -S training.precise_bn_every=0"
    "bn-decay -S training.decay_norm_and_bias=true"
    "plain-tsm -S student.network.network=tsm -S student.network.activation=relu"
    "head-lr-1 -S training.head_weight_lr=1.0 -S training.head_bias_lr=1.0"
)

figures() {
    python - <<'PY'
import json
student = json.load(open("reports/evaluation/metrics.json"))["student"]
print(*(f"{v['top1']:.1%} ({v['top1_low']:.1%}-{v['top1_high']:.1%})" for v in student.values()), sep=" | ")
PY
}

failed=0
for variant in "${variants[@]}"; do
    read -r name options <<<"$variant"
    [[ $# -lt 2 || " ${*:2} " == *" $name "* ]] || continue
    git checkout -q -- params.yaml dvc.lock
    # shellcheck disable=SC2086  # options are words
    if dvc exp run -n "ablation-$name" "${base[@]}" $options >".pptsm/ablation-$name.log" 2>&1; then
        echo "| $name | $(figures) |"
    else
        echo "| $name | failed | failed |"
        failed=1
    fi
done
git checkout -q -- params.yaml dvc.lock
dvc checkout -q
exit $failed
