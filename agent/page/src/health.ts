// How the service is, asked for as long as somebody looks.
import { Refused, call, text } from "./api";
import { change, state } from "./state";

type Row = (typeof state.metrics)[number];

function rowsOf(lines: string): Row[] {
  const rows: Row[] = [];
  for (const line of lines.split("\n")) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries(
      [...(match[2] ?? "").matchAll(/(\w+)="([^"]*)"/g)].map((each) => [each[1], each[2]]),
    );
    rows.push({ name: match[1]!, labels, value: Number(match[3]) });
  }
  return rows;
}

export async function loadHealth(): Promise<void> {
  try {
    state.health = await call("GET", "/health");
  } catch (error) {
    state.health = {
      status: error instanceof Refused && error.status === 503 ? "degraded" : "unreachable",
    };
  }
  try {
    state.metrics = rowsOf(await text("/metrics"));
  } catch {
    state.metrics = [];
  }
  change();
}
