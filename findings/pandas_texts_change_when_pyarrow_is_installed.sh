#!/usr/bin/env bash
# Installing pyarrow, for whatever reason, changes what pandas 3 does with columns of text.
#
# One would guess that a column of dtype "str" behaves the same on each machine with the same pandas, and that pyarrow
# only makes it faster. pandas 3 holds such columns in Arrow as soon as pyarrow can be imported ("mode.string_storage" is
# "auto"), and then
# - `str.upper()` of "straße" is "STRAẞE", where Python's and pandas' own is "STRASSE": names of classes differ;
# - arithmetic on an EMPTY column of text raises TypeError, where pandas' own gives an empty column;
# - a text that JSON can hold (an escaped half of a pair) raises UnicodeEncodeError when the column is made.
# So a package that brings pyarrow (MLflow, say, beside Great Expectations) changes results and errors of code that never
# names it. `pd.set_option("mode.string_storage", "python")` gives the same everywhere.
# Seen with pandas 3.1.1, without and with pyarrow 25.0.1, on Python 3.11.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q pandas==3.1.1
cat >texts.py <<'PY'
import json
import sys

import pandas as pd

if "--python" in sys.argv:
    pd.set_option("mode.string_storage", "python")


def what(made) -> str:
    try:
        return repr(made())
    except Exception as error:
        return type(error).__name__


found = {
    "storage": pd.Series(["a"], dtype="str").dtype.storage,
    "upper": pd.Series(["straße"], dtype="str").str.upper().tolist()[0],
    "empty column less 1": what(lambda: (pd.Series([], dtype="str") - 1).tolist()),
    "half of a pair": what(lambda: len(pd.Series([json.loads('"\\ud800"')], dtype="str"))),
}
print("pandas", pd.__version__, json.dumps(found, ensure_ascii=False))
own = {"storage": "python", "upper": "STRASSE", "empty column less 1": "[]", "half of a pair": "1"}
arrow = {"storage": "pyarrow", "upper": "STRAẞE", "empty column less 1": "TypeError", "half of a pair": "UnicodeEncodeError"}
assert found == (arrow if "--arrow" in sys.argv else own), "it does something else now"
PY
venv/bin/python texts.py
venv/bin/python -m pip install -q pyarrow==25.0.1
venv/bin/python texts.py --arrow
venv/bin/python texts.py --python
