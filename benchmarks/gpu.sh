#!/usr/bin/env bash
# What a machine with a GPU shows in eight minutes, without network: the tests that need one, how fast it trains, what the
# large presets would take on it, and the cifar preset. `make gpu`; docs/gpu.md says what to carry and what comes back.
#   OUT      folder to write into (results/gpu)
#   PYTHON   the Python with torch; wheels in build/wheels are put beside what it has
#   NPZ      real CIFAR-10 images as an .npz, or RAW_DATA, a folder with the publisher's; without either no cifar preset
#   DEVICE   cpu: the same commands on a CPU, as small as they can be
#   SKIP     stages to leave out, such as "tests plan-paper": tests, steps, seeds, plan-workstation, plan-paper, preset
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-results/gpu} PYTHON=${PYTHON:-.venv/bin/python} SEEDS=${SEEDS:-0,1,2} CHAINS=${CHAINS:-8} LIMIT=${LIMIT:-465}
TASKS=(--tasks cifar10-resnet20 cifar10-vgg16 cifar10-wrn28x10) PRESETS=(workstation paper) SECOND=2 CHAIN_ROWS=(2 4 8) TOGETHER=(--seeds 8)
CONFIG=(preset=cifar "seeds=[$SEEDS]")
[ -n "${NPZ:-}" ] && CONFIG+=("datasets={cifar10: {source: {kind: npz, path: $(realpath "$NPZ")}}}")
[ -n "${RAW_DATA:-}" ] && CONFIG+=("raw_data=$(realpath "$RAW_DATA")")
if [ "${DEVICE:-}" = cpu ]; then
    export CUDA_VISIBLE_DEVICES=
    TASKS=(--preset smoke --tasks digits-resnet8) PRESETS=(smoke) SECOND=0.2 CHAIN_ROWS=(2) CHAINS=$(nproc)
    TOGETHER=(--preset smoke --task digits-resnet8 --seeds 2)
    CONFIG=(preset=smoke "seeds=[0]" cascade=null directional=null)
fi
STAGES=" tests steps seeds ${PRESETS[*]/#/plan-} preset "
for name in ${SKIP:-}; do
    [[ "$STAGES" == *" $name "* ]] || { echo "SKIP names '$name', but the stages are:$STAGES" >&2 && exit 2; }
done
mkdir -p "$OUT"
if compgen -G 'build/wheels/*.whl' >/dev/null; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps --target build/gpu build/wheels/*.whl || exit 2
fi
export PYTHONPATH="$PWD/src:$PWD/build/gpu" failed=0

# stage NAME SECONDS COMMAND...: within the seconds and within the limit of all (and 10 s to end); its output is kept.
stage() {
    local name=$1 seconds=$2 left=$((LIMIT - SECONDS))
    shift 2
    if [[ " ${SKIP:-} " == *" $name "* ]]; then
        echo "== $name: left out"
        return
    fi
    echo "== $name: at most $((seconds < left ? seconds : left)) s"
    timeout --signal TERM --kill-after 10 $((left < 1 ? 1 : seconds < left ? seconds : left)) "$@" 2>&1 | tee "$OUT/$name.log"
    local code=${PIPESTATUS[0]}
    [ "$code" = 0 ] || { echo "== $name ended with $code after $SECONDS s in all" && failed=1; }
}

nvidia-smi >"$OUT/nvidia-smi.txt" 2>/dev/null
stage tests 120 "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider tests/unit
stage steps 240 "$PYTHON" benchmarks/gpu_steps.py "${TASKS[@]}" --chains "${CHAIN_ROWS[@]}" --seconds "$SECOND" \
    --minutes 3 --csv "$OUT/steps.csv"
stage seeds 60 "$PYTHON" benchmarks/seeds_together.py "${TOGETHER[@]}" --seconds "$SECOND"
for preset in "${PRESETS[@]}"; do
    stage "plan-$preset" 60 "$PYTHON" -m prunebench plan "$preset" --probe --seconds 1 --gpus 1 --save "$OUT/$preset.csv"
done
if [ "${#CONFIG[@]}" -gt 2 ] || [ "${DEVICE:-}" = cpu ]; then
    # A run that the time ends goes on with the next call, where its results are.
    stage preset "$LIMIT" "$PYTHON" -m snakemake --cores "$CHAINS" --config "${CONFIG[@]}"
    results=results/${CONFIG[0]#preset=}
    tar czf "$OUT/preset.tar.gz" --exclude='*.safetensors' "$results" "figures/${results#results/}" 2>/dev/null
fi
echo "== after $SECONDS s: $(ls "$OUT" | tr '\n' ' ')"
exit "$failed"
