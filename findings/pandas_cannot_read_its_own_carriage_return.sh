#!/usr/bin/env bash
# A table with a lone carriage return in a cell, written by pandas, is not the table that pandas reads.
#
# One would guess that `read_csv` gives back what `to_csv` wrote, whatever characters a cell has: commas, quotes and
# line feeds are quoted. A lone carriage return is not, with rows that end in a line feed, and the reader takes it for
# the end of a row: one row becomes two, of which the second's values stand in the wrong columns, without an error. With
# `quoting=csv.QUOTE_NONNUMERIC` the table survives. Seen with pandas 3.1.1 on Python 3.11.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q pandas==3.1.1
venv/bin/python - <<'PY'
import csv
import io

import pandas as pd

print("pandas", pd.__version__)


def there_and_back(cell: str, **options: int) -> pd.DataFrame:
    table = pd.DataFrame({"clip": [cell, "second"], "frames": [20, 30]})
    return pd.read_csv(io.StringIO(table.to_csv(index=False, **options)))


for cell in ('a,"b"', "a\nb"):
    assert there_and_back(cell)["clip"].tolist() == [cell, "second"]
broken = there_and_back("a\rb")
print(broken)
assert len(broken) == 3 and broken["clip"].tolist() == ["a", "b", "second"], "it is quoted now"
assert there_and_back("a\rb", quoting=csv.QUOTE_NONNUMERIC)["clip"].tolist() == ["a\rb", "second"]
PY
