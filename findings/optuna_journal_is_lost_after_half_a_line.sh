#!/usr/bin/env bash
# Optuna's journal file does not survive a writer that was ended in the middle of a line.
#
# One would guess that a journal, each line of which is an operation, loses at most the line that was cut off (a power
# cut, a full disk). Opened once, it does: half a line at the end is passed over. The next operation is written right
# behind that half, and from then on the journal cannot be read any more: all trials are lost.
# Seen with Optuna 5.0.0. `pptsm tune` keeps a history of its own, which is replaced whole.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q optuna==5.0.0
venv/bin/python -W ignore - <<'PY'
import json
import os
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study():
    storage = JournalStorage(JournalFileBackend("journal.log"))
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True)


def value(trial):
    return trial.suggest_float("x", 0, 1)


study().optimize(value, n_trials=3)
os.truncate("journal.log", os.path.getsize("journal.log") - 10)
print(f"optuna {optuna.__version__}: after half a line, {len(study().trials)} trials are read")
lost = []
for attempt in ("one more trial", "opened again"):
    try:
        again = study()
        if attempt == "one more trial":
            again.optimize(value, n_trials=1)
    except json.JSONDecodeError as error:
        lost.append(attempt)
        print(f"{attempt}: {error}")
sys.exit(0 if lost == ["one more trial", "opened again"] else 1)
PY
