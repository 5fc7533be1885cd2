/**
 * Columns as Go's text/tabwriter aligns them in docker's tables: cells end with a tab, three spaces between columns,
 * none narrower than ten, and a column reaches over the neighbouring lines that have it.
 */

const MINIMUM_WIDTH = 10;
const PADDING = 3;

/** Aligns text whose lines hold tab-separated cells. */
export function alignColumns(text: string, minimumWidth = MINIMUM_WIDTH): string {
  const lines = text.split("\n").map((line) => line.split("\t"));
  const widths = lines.map((): number[] => []);
  alignBlock(lines, widths, { column: 0, from: 0, to: lines.length, minimumWidth });
  return lines
    .map((cells, row) =>
      cells
        .map((cell, column) => {
          const width = widths[row]?.[column];
          return width === undefined ? cell : cell + " ".repeat(Math.max(0, width - widthOf(cell)));
        })
        .join(""),
    )
    .join("\n");
}

interface Block {
  readonly column: number;
  readonly from: number;
  readonly to: number;
  readonly minimumWidth: number;
}

/** Every run of lines that have a cell in this column (the last cell of a line is in none) shares a width. */
function alignBlock(lines: readonly string[][], widths: number[][], block: Block): void {
  const { column, minimumWidth } = block;
  const inColumn = (row: number): boolean => column < (lines[row]?.length ?? 0) - 1;
  for (let row = block.from; row < block.to; row += 1) {
    if (!inColumn(row)) continue;
    let end = row;
    let width = minimumWidth;
    for (; end < block.to && inColumn(end); end += 1) {
      width = Math.max(width, widthOf(lines[end]?.[column] ?? "") + PADDING);
    }
    for (let at = row; at < end; at += 1) widths[at]?.push(width);
    alignBlock(lines, widths, { column: column + 1, from: row, to: end, minimumWidth });
    row = end;
  }
}

/** tabwriter counts characters, not cells of a terminal. */
const widthOf = (text: string): number => Array.from(text).length;
