// The history of runs.
import { call } from "./api";
import { runOf } from "./from";
import { change, has, say, state } from "./state";
import { wordsOf } from "./words";

export async function loadRuns(): Promise<void> {
  if (!has("GET /runs")) return;
  state.runs = (await call("GET", "/runs?limit=200")).runs.map(runOf);
  change();
}

export async function openRun(id: string): Promise<void> {
  state.pair = [];
  try {
    state.open = await call("GET", `/runs/${encodeURIComponent(id)}`);
  } catch (error) {
    state.open = null;
    say(wordsOf(error));
  }
  change();
}

export function mark(id: string, on: boolean): void {
  state.marked = on ? [...state.marked, id].slice(-2) : state.marked.filter((each) => each !== id);
  change();
}

export async function compareMarked(): Promise<void> {
  try {
    state.pair = await Promise.all(
      state.marked.map((id) => call("GET", `/runs/${encodeURIComponent(id)}`)),
    );
    state.open = null;
  } catch (error) {
    say(wordsOf(error));
  }
  change();
}

export async function removeRun(id: string): Promise<void> {
  try {
    await call("DELETE", `/runs/${encodeURIComponent(id)}`);
    if (state.open?.run_id === id) state.open = null;
    await loadRuns();
  } catch (error) {
    say(wordsOf(error));
  }
}
