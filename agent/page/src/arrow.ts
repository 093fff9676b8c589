// Whole tables, as Arrow; loaded when there is one to read.
import { blob } from "./api";
import type { Table } from "./types";

const kMostRows = 200_000;

function cellOf(value: unknown): unknown {
  if (typeof value === "bigint")
    return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (typeof value === "number" && !Number.isFinite(value)) return null;
  if (value instanceof Date)
    return value.toISOString().replace("T00:00:00.000Z", "").replace(".000Z", "");
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (ArrayBuffer.isView(value)) return [...(value as unknown as number[])];
  return value;
}

// The latest value of a session, of which `first` has the first rows. Columns of the index that pandas
// adds are left out; what labels `first` shows are not known for the rest then.
export async function wholeTable(session: string, first: Table): Promise<Table | null> {
  if (first.total <= first.rows.length || first.total > kMostRows) return null;
  const [{ tableFromIPC }, content] = await Promise.all([
    import("@uwdata/flechette"),
    blob(`/v1/sessions/${encodeURIComponent(session)}/tables/_`),
  ]);
  const table = tableFromIPC(new Uint8Array(await content.arrayBuffer()), { useDate: true });
  if (table.numRows !== first.total || table.numCols < first.columns.length) return null;
  const columns = first.columns.map((_, i) => table.getChildAt(i).toArray() as ArrayLike<unknown>);
  const rows = Array.from({ length: table.numRows }, (_, row) =>
    columns.map((column) => cellOf(column[row])),
  );
  const plain = first.index?.every((label, i) => label === i);
  const index = plain
    ? rows.map((_, i) => i)
    : table.numCols > first.columns.length
      ? labels(table, first.columns.length)
      : undefined;
  return { ...first, rows, index };
}

function labels(
  table: {
    numCols: number;
    numRows: number;
    getChildAt(i: number): { toArray(): ArrayLike<unknown> };
  },
  from: number,
): unknown[] {
  const levels = Array.from({ length: table.numCols - from }, (_, i) =>
    table.getChildAt(from + i).toArray(),
  );
  return Array.from({ length: table.numRows }, (_, row) => {
    const level = levels.map((each) => cellOf(each[row]));
    return level.length === 1 ? level[0] : level.join(", ");
  });
}
