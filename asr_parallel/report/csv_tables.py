"""The tables of a comparison as CSV."""

import csv
from collections.abc import Sequence
from io import StringIO

from asr_parallel.report.comparison import Cell, Comparison
from asr_parallel.report.difference_tables import difference_columns
from asr_parallel.report.differences import contestants
from asr_parallel.report.groups import Group, summarise
from asr_parallel.report.tables import (
    Column,
    identity_columns,
    origin_columns,
    result_columns,
    summary_columns,
    time_columns,
)


def cells_csv(comparison: Comparison) -> str:
    """Return a line for each cell, with all that is known of it except its learning curve."""
    columns = [*identity_columns(), *result_columns(comparison), *time_columns(comparison), *origin_columns()]
    return _csv(columns, comparison.cells, comparison.synthetic)


def summary_csv(comparison: Comparison) -> str:
    """Return a line for each group, with its difference from the single worker."""
    groups = summarise(comparison)
    columns = summary_columns(comparison, groups) + difference_columns(contestants(comparison, groups))
    return _csv(columns, groups, comparison.synthetic)


def _csv(columns: Sequence[Column], rows: Sequence[Cell] | Sequence[Group], synthetic: bool) -> str:
    """Return a table as CSV; its last column says whether the speech is synthetic."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(column.name for column in columns), "speech"])
    for row in rows:
        values = [column.value(row) for column in columns]
        writer.writerow(["" if v is None else v for v in (*values, "synthetic" if synthetic else None)])
    return out.getvalue()
