"""A table as text, for the page."""

from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class PlainTable:
    """A table; the first cell of each row is its heading.

    Attributes:
        title: What the table shows.
        columns: Headings.
        rows: Cells.
        note: To be read below it.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""

    @classmethod
    def of(cls, table: Table) -> "PlainTable":
        """From a table made for the terminal."""
        cells = [[str(cell) for cell in column.cells] for column in table.columns]
        return cls(
            str(table.title or ""),
            [str(column.header) for column in table.columns],
            [list(row) for row in zip(*cells, strict=True)],
            str(table.caption or ""),
        )
