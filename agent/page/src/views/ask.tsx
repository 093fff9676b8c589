// Ask: data on the left, the thread in the middle, what to ask at its foot.
import { useEffect, useRef } from "preact/hooks";
import { download } from "../api";
import { ask, loadSteps, newThread, openThread, removeThread, stopAsking } from "../ask";
import { openInConsole } from "../console";
import { Markdown } from "../markdown";
import { change, has, say, state } from "../state";
import type { Turn } from "../types";
import { usageWords, when, wordsOf } from "../words";
import { Composer } from "./composer";
import { DataPanel } from "./data";
import { FailureView, StepView } from "./step";
import { TableView } from "./table";

export function RunFiles({ id }: { id: string }) {
  const save = (what: string, name: string) =>
    download(`/runs/${id}/${what}`, name).catch((error) => say(wordsOf(error)));
  return (
    <>
      {has("GET /runs/{id}/notebook") && (
        <button class="link" onClick={() => save("notebook", `${id}.ipynb`)}>
          Notebook
        </button>
      )}
      {has("GET /runs/{id}/report") && (
        <button class="link" onClick={() => save("report", `${id}.html`)}>
          Report
        </button>
      )}
    </>
  );
}

function TurnView({ turn }: { turn: Turn }) {
  const branchFrom = (step: Turn["steps"][number]) =>
    has("POST /v1/sessions") && step.language === "python" && turn.status !== "running" ? (
      <button
        class="link"
        title="Run the steps up to here in a session, and go on by hand"
        onClick={() => openInConsole(turn.steps, step, [...state.chosen])}
      >
        Branch from here
      </button>
    ) : null;
  return (
    <section class="turn" aria-label={`Question: ${turn.question}`}>
      <p class="question">{turn.question}</p>
      {turn.plan && (
        <details class="json">
          <summary>Plan</summary>
          <pre class="out">{turn.plan}</pre>
        </details>
      )}
      {turn.steps.map((step) => (
        <StepView key={step.number} step={step} actions={branchFrom(step)} />
      ))}
      {turn.status === "running" && turn.text && <Markdown text={turn.text} />}
      {turn.status === "running" && (
        <p class="busy" role="status">
          {turn.stage || "Working"}
        </p>
      )}
      {turn.answer && turn.answer !== turn.failure?.detail && <Markdown text={turn.answer} />}
      {turn.table && <TableView table={turn.table} />}
      {turn.failure && <FailureView failure={turn.failure} />}
      {turn.status === "stopped" && <p class="dim">You stopped this.</p>}
      {turn.status !== "running" && turn.runId && (
        <p class="bar small">
          <span class="dim">{usageWords(turn.usage).join(" · ")}</span>
          {turn.steps.length === 0 && has("GET /runs/{id}") && (
            <button class="link" onClick={() => loadSteps(turn)}>
              Steps
            </button>
          )}
          <RunFiles id={turn.runId} />
          {has("GET /runs/{id}") && (
            <a href={`#runs/${turn.runId}`} class="link">
              Details
            </a>
          )}
        </p>
      )}
    </section>
  );
}

function Threads() {
  if (!has("GET /threads")) return null;
  return (
    <section class="panel" aria-label="Threads">
      <div class="bar">
        <h2>Threads</h2>
        <button class="right" onClick={newThread}>
          New
        </button>
      </div>
      <ul class="threads">
        {state.threads.map((each) => (
          <li key={each.id} class={each.id === state.thread ? "on" : ""}>
            <button
              class="link"
              aria-current={each.id === state.thread}
              onClick={() => openThread(each.id)}
            >
              <span class="name">{each.title}</span>
              <span class="dim small">{when(each.updated)}</span>
            </button>
            <button
              class="link small"
              aria-label={`Delete thread ${each.title}`}
              onClick={() => removeThread(each.id)}
            >
              Delete
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

const general = [
  "What is in this data?",
  "Which values are missing or odd?",
  "Plot the most telling relation.",
];

function Prompts() {
  const set = state.dataSets.find((each) => each.id === state.dataSet);
  const prompts = set?.prompts ?? (state.chosen.size ? general : []);
  if (!prompts.length) return null;
  return (
    <div class="prompts">
      <span class="dim small">Suggested prompts:</span>
      {prompts.slice(0, 6).map((prompt) => (
        <button
          onClick={() => {
            state.question = prompt;
            change();
            document.getElementById("question")?.focus();
          }}
        >
          {prompt}
        </button>
      ))}
    </div>
  );
}

function Question() {
  const send = () => ask(state.question);
  const keys = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
    if (event.key === "Escape" && state.asking) stopAsking();
  };
  return (
    <Composer
      field={{
        id: "question",
        rows: 2,
        placeholder: state.turns.length ? "Ask on" : "Ask about the data",
        "aria-label": "Question",
        onKeyDown: keys,
      }}
      value={state.question}
      set={(text) => (state.question = text)}
      verb="Ask"
      send={send}
      busy={state.asking !== null}
      stop={stopAsking}
      above={<Prompts />}
    >
      <p class="dim small">
        Enter asks, Shift+Enter begins a line. <code>SQL:</code> or <code>PYTHON:</code> at the
        beginning runs what follows as it is.
      </p>
    </Composer>
  );
}

export function AskView() {
  const end = useRef<HTMLDivElement>(null);
  const last = state.turns.at(-1);
  const amount =
    state.turns.length +
    (last?.steps.length ?? 0) +
    (last?.text.length ?? 0) +
    (last?.answer?.length ?? 0);
  useEffect(() => {
    if (state.turns.length) end.current?.scrollIntoView({ block: "nearest" });
  }, [amount]);
  return (
    <div class="columns">
      <aside>
        <DataPanel />
        <Threads />
      </aside>
      <div class="work">
        <div id="messages" class="messages" aria-live="polite" aria-busy={state.asking !== null}>
          {state.turns.length === 0 && (
            <div class="empty">
              <h1>Ask about your data</h1>
              <p>
                Drop in a CSV, Excel, Parquet or SQLite file, tick it, and ask. Every piece of code
                that answers you runs in a jail of its own: it sees the ticked files and nothing
                else, has no network, and is gone when it is done.
              </p>
            </div>
          )}
          {state.turns.map((turn, i) => (
            <TurnView key={i} turn={turn} />
          ))}
          <div ref={end} class="end" />
        </div>
        <Question />
      </div>
    </div>
  );
}
