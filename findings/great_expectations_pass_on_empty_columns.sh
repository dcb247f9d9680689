#!/usr/bin/env bash
# A column of nothing meets almost every expectation.
#
# One would guess that "values between 8 and 100", "values in this set" or "values unique" fail for a column that has no
# values. Great Expectations leaves missing values out before it counts, so that none is unexpected and all three pass;
# `mostly=1.0` changes nothing, because it is a share of the values that are there. An expectation about the whole
# column (its maximum) and `ExpectColumnValuesToNotBeNull` fail. Seen with great_expectations 1.24.1.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q great_expectations==1.24.1
GX_ANALYTICS_ENABLED=false venv/bin/python -W ignore - <<'PY' 2>"$place/progress"
import great_expectations as gx
import pandas as pd
from great_expectations import expectations as e

print("great_expectations", gx.__version__)
context = gx.get_context(mode="ephemeral")
asset = context.data_sources.add_pandas("here").add_dataframe_asset("table")
types = {"frames": "float64", "status": "object"}
table = pd.DataFrame({name: pd.Series([None] * 5, dtype=kind) for name, kind in types.items()})
batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
passing = [
    e.ExpectColumnValuesToBeBetween(column="frames", min_value=8, max_value=100, mostly=1.0),
    e.ExpectColumnValuesToBeInSet(column="status", value_set=["ok"]),
    e.ExpectColumnValuesToBeUnique(column="frames"),
]
failing = [
    e.ExpectColumnMaxToBeBetween(column="frames", min_value=8, max_value=100),
    e.ExpectColumnValuesToNotBeNull(column="frames"),
]
for expectations, expected in ((passing, True), (failing, False)):
    for expectation in expectations:
        result = batch.validate(expectation)
        print(f"{type(expectation).__name__}: {'passes' if result.success else 'fails'}")
        assert result.success is expected
PY
