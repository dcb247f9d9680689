"""Texts in tables are held by Python. To import this module is to say so to pandas.

Left to itself pandas 3 holds them in Arrow as soon as pyarrow is installed, by whatever package. It then refuses texts
that JSON can hold (a lone surrogate), and operations on an empty column of texts. What is found must not depend on what
else is installed.
"""

import pandas as pd

pd.set_option("mode.string_storage", "python")
