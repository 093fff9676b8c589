// Runs: what was asked, by which code it was answered, and what that took.
import { useMemo } from "preact/hooks";
import { openThread } from "../ask";
import { openInConsole } from "../console";
import { stepsOfCapsule, tableOfResult } from "../from";
import { Markdown } from "../markdown";
import { compareMarked, loadRuns, mark, openRun, removeRun } from "../runs";
import { change, has, state } from "../state";
import { bytes, runFailure, seconds, when } from "../words";
import { RunFiles } from "./ask";
import { FailureView, StepView } from "./step";
import { TableView } from "./table";

function List() {
  return (
    <section aria-label="History">
      <div class="bar">
        <h2>Runs</h2>
        <span class="dim small">
          {state.runs.length ? "newest first; tick two to compare them" : ""}
        </span>
        <span class="right">
          <button disabled={state.marked.length !== 2} onClick={compareMarked}>
            Compare
          </button>
          <button onClick={() => loadRuns()}>Refresh</button>
        </span>
      </div>
      {state.runs.length === 0 && (
        <p class="dim">There are none yet: each question that is asked becomes one.</p>
      )}
      <ul class="runs">
        {state.runs.map((run) => (
          <li key={run.id} class={state.open?.run_id === run.id ? "on" : ""}>
            <input
              type="checkbox"
              aria-label={`Compare ${run.question}`}
              checked={state.marked.includes(run.id)}
              onChange={(event) => mark(run.id, event.currentTarget.checked)}
            />
            <a href={`#runs/${run.id}`}>
              <span class={`tag ${run.status}`}>{run.status}</span>
              <span class="name">{run.question || run.id}</span>
              <span class="dim small">
                {when(run.created)}
                {run.steps ? ` · ${run.steps} ${run.steps === 1 ? "step" : "steps"}` : ""}
                {run.seconds ? ` · ${seconds(run.seconds)}` : ""}
              </span>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Facts({ run }: { run: any }) {
  const usage = run.usage ?? {};
  const tokens = (usage.input_tokens ?? 0) + (usage.output_tokens ?? 0);
  const rows: [string, string][] = [
    ["Run", run.run_id],
    ["When", when(run.created_at ?? "")],
    ["Model", [run.provider, run.model].filter(Boolean).join(" / ") || "none"],
    [
      "Policy",
      run.policy?.name ? `${run.policy.name} (${String(run.policy.sha256).slice(0, 12)})` : "",
    ],
    ["Image", String(run.image ?? "").slice(0, 24)],
    [
      "Data",
      (run.data ?? [])
        .map(
          (each: any) =>
            `${each.name} (${bytes(each.bytes ?? 0)}, ${String(each.sha256 ?? "").slice(0, 12)})`,
        )
        .join(", "),
    ],
    [
      "Tokens",
      tokens
        ? `${usage.input_tokens} in, ${usage.output_tokens} out${usage.cost_usd ? `, $${usage.cost_usd}` : ""}`
        : "",
    ],
    ["Time", usage.wall_ns ? seconds(usage.wall_ns / 1e9) : ""],
  ];
  return (
    <dl class="facts">
      {rows
        .filter(([, value]) => value)
        .map(([name, value]) => (
          <>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </>
        ))}
    </dl>
  );
}

function Capsule({ run, quiet = false }: { run: any; quiet?: boolean }) {
  const steps = useMemo(() => stepsOfCapsule(run), [run]);
  const table = useMemo(() => tableOfResult(run.result_json), [run]);
  const files = (run.data ?? [])
    .map((each: any) => /^store:(.+)$/.exec(String(each.origin ?? ""))?.[1])
    .filter(Boolean);
  return (
    <article class="capsule" aria-label={`Run ${run.run_id}`}>
      <p class="question">{run.question}</p>
      <p class="bar small">
        <span class={`tag ${run.status}`}>{run.status}</span>
        <RunFiles id={run.run_id} />
        {run.thread_id && has("GET /threads/{id}/messages") && (
          <button
            class="link"
            onClick={() => {
              location.hash = "ask";
              openThread(run.thread_id);
            }}
          >
            Ask on
          </button>
        )}
        {!quiet && has("DELETE /runs/{id}") && (
          <button class="link" onClick={() => removeRun(run.run_id)}>
            Delete
          </button>
        )}
      </p>
      {steps.map((step) => (
        <StepView
          key={step.number}
          step={step}
          actions={
            !quiet && step.language === "python" && has("POST /v1/sessions") ? (
              <button class="link" onClick={() => openInConsole(steps, step, files)}>
                Branch from here
              </button>
            ) : null
          }
        />
      ))}
      {run.answer && run.answer !== run.error_json?.message && <Markdown text={run.answer} />}
      {table && <TableView table={table} />}
      {run.error_json?.type && <FailureView failure={runFailure(run.error_json, run.status)} />}
      <Facts run={run} />
    </article>
  );
}

export function RunsView() {
  if (state.pair.length === 2)
    return (
      <div class="work alone">
        <div class="bar">
          <h2>Two runs</h2>
          <button
            class="right"
            onClick={() => {
              state.pair = [];
              change();
            }}
          >
            Back to the list
          </button>
        </div>
        <div class="pair">
          {state.pair.map((run) => (
            <section aria-label={run.question}>
              <Capsule run={run} quiet />
            </section>
          ))}
        </div>
      </div>
    );
  return (
    <div class={`columns wide${state.open ? " opened" : ""}`}>
      <aside>
        <List />
      </aside>
      <div class="work">
        {state.open ? (
          <>
            <a href="#runs" class="back">
              All runs
            </a>
            <Capsule run={state.open} />
          </>
        ) : (
          <p class="dim empty">Choose a run to see all of it.</p>
        )}
      </div>
    </div>
  );
}

export { openRun };
