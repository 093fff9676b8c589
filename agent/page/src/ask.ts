// Questions: a thread of turns, each a run that streams what it does.
import { call, events, type Event } from "./api";
import { addText, filesOfStep, finishStep, newStep, stepsOfCapsule, tableOfResult } from "./from";
import { change, has, say, state } from "./state";
import type { Step, Turn } from "./types";
import { runFailure, wordsOf } from "./words";

const kThread = "csvAnalystThreadId";

function setThread(id: string | null): void {
  state.thread = id;
  if (id) localStorage.setItem(kThread, id);
  else localStorage.removeItem(kThread);
}

function newTurn(question: string): Turn {
  return {
    question,
    runId: null,
    stage: "",
    text: "",
    answer: null,
    status: "running",
    steps: [],
    usage: {},
  };
}

function stepAt(turn: Turn, number: number): Step {
  let step = turn.steps.find((each) => each.number === number);
  if (!step) turn.steps.push((step = newStep(number, "")));
  return step;
}

const stages: Record<string, string> = {
  planning: "Thinking",
  validating: "Checking the code",
  executing: "Running the code",
};

function take(turn: Turn, { name, data }: Event): void {
  if (name === "start") {
    turn.runId = data.run_id;
    setThread(data.thread_id);
  } else if (name === "status") {
    turn.stage = stages[data.stage] ?? data.stage;
  } else if (name === "text") {
    turn.text += data.text;
  } else if (name === "again") {
    turn.text = "";
  } else if (name === "code") {
    const step = stepAt(turn, data.step);
    step.language = data.sql ? "sql" : (data.language ?? "python");
    step.code = data.sql ?? data.code;
  } else if (name === "output") {
    addText(stepAt(turn, data.step), data.stream, data.text);
  } else if (name === "plot") {
    const url = data.data ? `data:${data.media_type};base64,${data.data}` : data.url;
    stepAt(turn, data.step).pieces.push({ kind: "image", url, name: data.name });
  } else if (name === "step") {
    const step = stepAt(turn, data.step);
    finishStep(step, data);
    step.files = filesOfStep(turn.runId, data.step, data.files);
  } else if (name === "result") {
    finish(turn, data);
  } else if (name === "error") {
    turn.status = "failed";
    turn.failure = { title: "The service could not answer.", detail: String(data?.detail ?? "") };
  }
}

// A table that is shown as one need not be there as text as well.
function proseOf(text: string, hasTable: boolean): string {
  return hasTable
    ? text.replace(/^\|.*\|[ ]*\n\|[-:| ]+\|[ ]*\n(?:\|.*\|[ ]*(?:\n|$))*/m, "").trim()
    : text;
}

function finish(turn: Turn, reply: any): void {
  turn.runId = reply.run_id ?? turn.runId;
  turn.status = reply.status;
  turn.table = tableOfResult(reply.result);
  turn.answer = proseOf(reply.assistant_message ?? "", turn.table !== undefined);
  if (reply.details?.plan_json) turn.plan = JSON.stringify(reply.details.plan_json, null, 2);
  if (typeof reply.result?.exec_time_ms === "number")
    turn.usage.wall = reply.result.exec_time_ms / 1000;
  const error = reply.result?.error;
  if (error && turn.status !== "succeeded") turn.failure = runFailure(error, turn.status);
}

export async function ask(question: string): Promise<void> {
  question = question.trim();
  if (!question || state.asking) return;
  if (state.uploads.length) return say("A file is still on its way: ask again when it is there.");
  const turn = newTurn(question);
  state.turns.push(turn);
  state.question = "";
  const stop = (state.asking = new AbortController());
  change();
  try {
    const body: Record<string, unknown> = { message: question };
    if (state.thread) body.thread_id = state.thread;
    if (state.dataSet) body.dataset_id = state.dataSet;
    else if (state.chosen.size)
      Object.assign(body, { files: [...state.chosen], user_id: state.user });
    turn.stage = "Sent";
    for await (const event of events("/chat/stream", body, stop.signal)) {
      take(turn, event);
      change();
    }
    if (turn.status === "running")
      Object.assign(turn, {
        status: "failed",
        failure: { title: "The answer broke off.", detail: "The service ended the connection." },
      });
  } catch (error) {
    turn.status = stop.signal.aborted ? "stopped" : "failed";
    if (!stop.signal.aborted)
      turn.failure = { title: "The question was not taken.", detail: wordsOf(error) };
  }
  for (const step of turn.steps) if (step.status === "running") step.status = "stopped";
  turn.stage = "";
  state.asking = null;
  change();
  loadThreads().catch(() => {});
}

export function stopAsking(): void {
  state.asking?.abort();
}

export async function loadThreads(): Promise<void> {
  if (!has("GET /threads")) return;
  const rows = (await call("GET", "/threads")).threads as any[];
  state.threads = rows.map((row) => ({
    id: row.thread_id,
    title: row.title || "Untitled",
    updated: row.updated_at ?? "",
  }));
  change();
}

export function newThread(): void {
  stopAsking();
  setThread(null);
  state.turns = [];
  change();
}

export async function openThread(id: string): Promise<void> {
  stopAsking();
  try {
    const rows = (await call("GET", `/threads/${encodeURIComponent(id)}/messages?limit=200`))
      .messages as any[];
    const turns: Turn[] = [];
    for (const row of rows) {
      if (row.role === "user")
        turns.push({ ...newTurn(row.content), status: "succeeded", runId: row.run_id });
      const turn = turns.at(-1);
      if (row.role === "assistant" && turn)
        Object.assign(turn, { answer: row.content, runId: row.run_id ?? turn.runId });
    }
    setThread(id);
    state.turns = turns;
  } catch (error) {
    setThread(null);
    say(wordsOf(error));
  }
  change();
}

export async function removeThread(id: string): Promise<void> {
  try {
    await call("DELETE", `/threads/${encodeURIComponent(id)}`);
    if (state.thread === id) newThread();
    await loadThreads();
  } catch (error) {
    say(wordsOf(error));
  }
}

// What a turn of an earlier visit did.
export async function loadSteps(turn: Turn): Promise<void> {
  try {
    const capsule = await call("GET", `/runs/${turn.runId}`);
    turn.steps = stepsOfCapsule(capsule);
    turn.table = tableOfResult(capsule.result_json) ?? turn.table;
    if (capsule.error_json?.type) turn.failure = runFailure(capsule.error_json, capsule.status);
    change();
  } catch (error) {
    say(wordsOf(error));
  }
}
