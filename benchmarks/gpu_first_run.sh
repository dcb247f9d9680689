#!/usr/bin/env bash
# The first run on a GPU: do the lines that only a GPU runs (docs/gpu.md) do what they should?
#
#   benchmarks/gpu_first_run.sh [VIDEOS]     in the environment of `make setup PADDLE=gpu`; VIDEOS: a folder per class
#
# Cost, as guessed: 10 minutes and 16 GB of memory on one GPU, a few minutes more with several. Without VIDEOS it draws
# some of 256 px. Without a GPU it does the same with a tiny network, in a minute of CPU time, and says what it left out.
# To expect on a V100, from published figures: 26 clips/s of R50 in float32 (38 ms per clip), half precision faster; all
# GPUs together nearly as many times as fast; waiting for clips at most 5 % of an epoch; the same weights, byte for
# byte, after a kill. Ends with a table of check, figure, verdict; exit code 1 if a verdict is "BAD". The logs stay in
# the folder that the last line names.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
cd "$place" || exit 1
export PYTHONPATH="$root/src:$root/tests${PYTHONPATH:+:$PYTHONPATH}" PYTHONWARNINGS=ignore GX_ANALYTICS_ENABLED=false
export PPTSM_STATE="$place/state"
rows=() bad=0

row() { # CHECK FIGURE VERDICT
    rows+=("$(printf '%-46s %-42s %s' "$1" "$2" "$3")")
    [[ $3 == BAD* ]] && bad=1
    echo "${rows[-1]}" >&2
}
holds() { python -c "import sys; sys.exit(not ($1))" && echo good || echo "BAD: not $1"; }
field() { python -c "import json, sys; print(f'{json.load(open(sys.argv[1]))[sys.argv[2]]:.4g}')" "$1" "$2"; }
# params FILE PRESET KEY=VALUE ...
params() {
    local file=$1 preset=$2 words=()
    for value in "${@:3}"; do words+=(--set "$value"); done
    (cd "$root" && pptsm preset "$preset" --params "$place/$file" "${words[@]}") >"$file.log" 2>&1
}
count="import paddle; print(paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0)"
gpus=$(python -c "$count" 2>/dev/null)
videos=${1:+$(cd "$root" && realpath "$1")}

# ---- the machine ------------------------------------------------------------------------------------------------
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,memory.total,driver_version,compute_cap --format=csv
(cd "$root" && pptsm doctor) >doctor.log 2>&1 && verdict=good || verdict="BAD: see doctor.log"
row "pptsm doctor" "$gpus GPU" "$verdict"

# ---- a training step: one GPU, precisions, parts of a batch, all GPUs ----------------------------------------------
if ((gpus)); then
    steps=10 step=(k400-r50-uniform-distilled training.batch_size=16) one='compute.devices=[0]'
else
    steps=3 step=(motion) one='compute.devices=1'
fi
# time_step NAME KEY=VALUE ...: milliseconds per clip from labels alone, and with the teacher
time_step() {
    local name=$1
    if ! { params "$name.yaml" "${step[@]}" "${@:2}" && python "$root/benchmarks/train_step.py" --json --rounds 1 \
        --steps "$steps" --params "$name.yaml" >"$name.json" 2>"$name.log"; }; then
        if grep -q "cannot compute in it" "$name.log"; then
            row "training step: $name" "this GPU has it not, and was asked" "good: refused with a sentence"
        else
            row "training step: $name" "" "BAD: see $name.log, $name.yaml.log"
        fi
        return 1
    fi
    figure="$(field "$name.json" ms_a_clip_plain) ms per clip, distilled $(field "$name.json" ms_a_clip)"
    ((gpus)) && figure+=", $(field "$name.json" gpu_gb) GB"
    return 0
}
time_step one "$one" training.amp=none && row "training step: one device, float32" "$figure" "note it"
for amp in fp16 bf16; do
    if ((!gpus)); then
        row "training step: one device, $amp" "" "skipped: no GPU"
    elif time_step "$amp" "$one" "training.amp=$amp"; then
        row "training step: one device, $amp" "$figure" \
            "$(holds "$(field "$amp.json" ms_a_clip_plain) < $(field one.json ms_a_clip_plain)")"
    fi
done
if ((gpus)); then
    time_step parts "$one" training.amp=none training.batch_norm_clips=4 &&
        row "training step: one device, batch_norm_clips 4 of 16" "$figure" \
            "$(holds "$(field parts.json gpu_gb) < $(field one.json gpu_gb)")"
else
    row "memory by batch_norm_clips" "" "skipped: no GPU"
fi
if ((gpus > 1)); then
    time_step all training.amp=none training.batch_norm_clips=16 "training.batch_size=$((16 * gpus))" &&
        row "training step: all $gpus GPUs" "$figure, $(field all.json speedup_plain) times one" \
            "$(holds "$(field all.json speedup_plain) > 0.8 * $gpus")"
else
    row "training step: all GPUs" "" "skipped: $gpus GPU"
fi

# ---- two ranks find what one finds; TF32 has three digits, too few to compare gradients -----------------------------
((gpus > 1)) && ranks='[0,1]' || ranks=2
if NVIDIA_TF32_OVERRIDE=0 python -m helpers.companions ranks.json "$ranks" >ranks.log 2>&1; then
    worst=$(python -c "import json; print(max(each['frozen: gradients'] for each in json.load(open('ranks.json'))['ranks']))")
    ((gpus > 1)) && over=NCCL || over="Gloo, on CPUs"
    row "gradients of 2 ranks against 1 ($over)" "$(printf %.1e "$worst") of the largest" "$(holds "$worst < 1e-5")"
else
    row "gradients of 2 ranks against 1" "" "BAD: see ranks.log"
fi

# ---- the stages: clips as they come, killed and resumed, exported --------------------------------------------------
common=(teacher.enabled=false student.distillation.weight=0.0 student.epochs=2 training.precise_bn_batches=2
    training.warmup_epochs=0 compute.save_every_min=0)
if ((gpus)); then
    common+=(motion.frame_px=256 motion.videos_per_class=40 motion.groups=20 training.clips_per_video=4
        clip.resize_px=256 clip.crop_px=224 clip.test_crop_px=224
        student.network.depth=50 student.network.width=1.0 student.network.num_segments=8 training.batch_size=16 "$one")
else
    common+=(motion.videos_per_class=8 motion.groups=8 compute.devices=1)
fi
if [[ -n $videos ]]; then
    common+=(motion.videos_per_class=0 "index.root=$videos" "index.pattern='(?P<label>[^/]+)/(?P<group>[^/]+)'")
else
    common+=('index.val_groups=[scene00]' 'index.test_groups=[scene01]')
fi
student() { # OUT
    pptsm student --index index.csv --labels labels.txt --frames frames --start none --teacher teacher \
        --teacher-start none --out "$1" --history "$1.csv"
}
nothing() { # ROLE
    pptsm "$1" --index index.csv --labels labels.txt --frames frames --start none --out "$1" --history "$1.csv"
}
if { params params.yaml motion "${common[@]}" && pptsm motion --out data/raw/motion &&
    pptsm index --out index.csv --labels labels.txt && pptsm validate --index index.csv --labels labels.txt \
    --out checked.json --docs docs && pptsm frames --index index.csv --checked checked.json --out frames &&
    nothing teacher && nothing baseline && student whole; } >stages.log 2>&1; then
    read -r rate wait < <(python -c "
import pandas as pd
last = pd.read_csv('whole.csv').iloc[-1]
print(f'{last.clips_per_sec:.3g} {last.wait_share:.3f}')")
    row "epoch of the student: speed" "$rate clips/s" "note it"
    row "epoch of the student: waiting for clips" "$wait of the time" \
        "$( ((gpus)) && holds "$wait <= 0.05" || echo "note it: too short an epoch to judge")"

    setsid pptsm student --index index.csv --labels labels.txt --frames frames --start none --teacher teacher \
        --teacher-start none --out killed --history killed.csv >killed.log 2>&1 &
    pid=$!
    until compgen -G "state/training/student-[!f]*/state.safetensors" >/dev/null || ! kill -0 "$pid" 2>/dev/null; do
        sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    if student killed >resumed.log 2>&1 && grep -q "going on after" resumed.log; then
        cmp -s whole/weights.pdparams killed/weights.pdparams && verdict=good ||
            verdict="BAD: other weights"
        row "killed and resumed" "$(grep -o 'going on after.*' resumed.log)" "$verdict"
    else
        row "killed and resumed" "" "BAD: see resumed.log"
    fi

    if pptsm export --index index.csv --labels labels.txt --frames frames --teacher teacher --student whole \
        --baseline baseline --out export --card export.json >export.log 2>&1; then
        figure=$(printf %.1e "$(python -c "
import json
print(json.load(open('export.json'))['agreement']['max_relative_difference'])")")
        row "exported: ONNX Runtime against Paddle" "$figure of the largest logit" "good: the gate let it through"
    else
        row "exported" "" "BAD: see export.log"
    fi
else
    row "the stages" "" "BAD: see stages.log"
fi

printf '\n%-46s %-42s %s\n' check figure verdict
printf '%s\n' "${rows[@]}"
((gpus)) || echo "No GPU was found: nothing above says anything about one."
echo "logs: $place"
exit $bad
