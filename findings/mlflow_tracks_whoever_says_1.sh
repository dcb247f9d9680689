#!/usr/bin/env bash
# MLflow's client counts its use, and DO_NOT_TRACK=1 does not stop it.
#
# One would guess that DO_NOT_TRACK=1, the form that the convention of that name gives and that Hugging Face's client
# obeys, holds here too. MLflow looks for the word "true" alone; MLFLOW_DISABLE_TELEMETRY=true stops it as well.
# Seen with mlflow-skinny 3.17.2, beside huggingface_hub 2.4.0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "mlflow-skinny==3.17.2" "huggingface-hub==2.4.0"
cat > "$work/ask.py" <<'PY'
import os
import sys

for name in ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST"):  # where MLflow sends nothing of itself
    os.environ.pop(name, None)
library = sys.argv[1]
if library == "mlflow":
    from mlflow.telemetry.utils import is_telemetry_disabled
    from mlflow.version import VERSION

    print(f"mlflow-skinny {VERSION}: telemetry is {'off' if is_telemetry_disabled() else 'ON'}")
else:
    from huggingface_hub import __version__, constants

    print(f"huggingface_hub {__version__}: telemetry is {'off' if constants.HF_HUB_DISABLE_TELEMETRY else 'ON'}")
PY
ask() {  # ASK VARIABLE=VALUE LIBRARY
    echo "$1: $(env -i PATH="$PATH" HOME="$work" "$1" "$work/venv/bin/python" "$work/ask.py" "$2")" | tee -a "$work/said"
}
ask DO_NOT_TRACK=1 mlflow
ask DO_NOT_TRACK=true mlflow
ask MLFLOW_DISABLE_TELEMETRY=true mlflow
ask DO_NOT_TRACK=1 huggingface_hub
diff <(sed 's/.*telemetry is //' "$work/said") <(printf 'ON\noff\noff\noff\n') || { echo "it is no longer so"; exit 1; }
echo "MLflow took no notice of DO_NOT_TRACK=1"
