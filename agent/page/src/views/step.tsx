// One step: its code, what came of it, and what it took.
import { useEffect, useState } from "preact/hooks";
import { blob, download } from "../api";
import { Code } from "../highlight";
import { Markdown } from "../markdown";
import { say } from "../state";
import type { Failure, FileLink, Piece, Step } from "../types";
import { bytes, usageWords, wordsOf } from "../words";
import { GuestFrame } from "./frame";
import { TableView } from "./table";

// Pictures of the service's need its key, which <img> cannot send.
function Picture({ url, name }: { url: string; name: string }) {
  const [source, setSource] = useState(url.startsWith("data:") ? url : "");
  useEffect(() => {
    if (url.startsWith("data:")) return setSource(url);
    let made = "";
    blob(url)
      .then((content) => setSource((made = URL.createObjectURL(content))))
      .catch(() => setSource(""));
    return () => URL.revokeObjectURL(made);
  }, [url]);
  if (!source) return <p class="dim">{name} …</p>;
  return (
    <figure class="plot">
      <img src={source} alt={`${name}, drawn by the code`} />
      <figcaption>
        <a href={source} download={name.includes(".") ? name : `${name}.png`}>
          Save picture
        </a>
      </figcaption>
    </figure>
  );
}

function PieceView({ piece }: { piece: Piece }) {
  if (piece.kind === "stdout")
    return (
      <pre class="out" tabIndex={0} aria-label="Output">
        {piece.text}
      </pre>
    );
  if (piece.kind === "stderr")
    return (
      <pre class="out err" tabIndex={0} aria-label="Error output">
        {piece.text}
      </pre>
    );
  if (piece.kind === "text")
    return (
      <pre class="out" tabIndex={0} aria-label="Value">
        {piece.text}
      </pre>
    );
  if (piece.kind === "image") return <Picture url={piece.url} name={piece.name} />;
  if (piece.kind === "frame") return <GuestFrame html={piece.html} name={piece.name} />;
  if (piece.kind === "markdown") return <Markdown text={piece.text} />;
  if (piece.kind === "table") return <TableView table={piece.table} />;
  if (piece.kind !== "json") return null;
  return (
    <details class="json">
      <summary>{piece.name} as JSON</summary>
      <pre class="out">{piece.text}</pre>
    </details>
  );
}

export function FailureView({ failure }: { failure: Failure }) {
  const evidence = Object.entries(failure.evidence ?? {}).filter(
    ([, value]) => value !== null && value !== false && value !== 0,
  );
  return (
    <div class="failure" role="alert">
      <p>
        <strong>{failure.title}</strong>{" "}
        {failure.verdict && <code class="tag">{failure.verdict}</code>}
      </p>
      {failure.detail && <p>{failure.detail}</p>}
      {failure.remedy && <p class="dim">{failure.remedy}</p>}
      {failure.trace && (
        <details>
          <summary>Where it happened</summary>
          <pre class="out err">{failure.trace}</pre>
        </details>
      )}
      {evidence.length > 0 && (
        <details>
          <summary>What the system saw</summary>
          <dl class="facts">
            {evidence.map(([name, value]) => (
              <>
                <dt>{name.replaceAll("_", " ")}</dt>
                <dd>
                  {/bytes$/.test(name) && typeof value === "number" ? bytes(value) : String(value)}
                </dd>
              </>
            ))}
          </dl>
        </details>
      )}
    </div>
  );
}

export function Files({ files }: { files: FileLink[] }) {
  if (!files.length) return null;
  const save = (file: FileLink) =>
    download(file.url, file.name.split("/").at(-1)!).catch((error) => say(wordsOf(error)));
  return (
    <p class="files">
      <span class="dim">Files:</span>
      {files.map((file) => (
        <button class="link" onClick={() => save(file)} title={`Download ${file.name}`}>
          {file.name} <span class="dim">{bytes(file.bytes)}</span>
        </button>
      ))}
    </p>
  );
}

const states = { running: "running", ok: "done", failed: "failed", stopped: "stopped" };

export function StepView({
  step,
  actions,
  faded,
}: {
  step: Step;
  actions?: preact.ComponentChildren;
  faded?: boolean;
}) {
  const lines = step.code.split("\n").length;
  const [open, setOpen] = useState(lines <= 24);
  return (
    <article
      class={`step ${step.status}${faded ? " faded" : ""}`}
      aria-label={`Step ${step.number}, ${states[step.status]}`}
    >
      <header>
        <button
          class="fold"
          aria-expanded={open}
          aria-label={`${open ? "Hide" : "Show"} code of step ${step.number}`}
          onClick={() => setOpen(!open)}
        >
          <span class="dot" aria-hidden="true" />
          {step.number} <span class="dim">{step.language === "sql" ? "SQL" : "Python"}</span>
        </button>
        <span class="dim usage" aria-label="Resources used">
          {step.status === "running" ? (
            <span class="busy">running</span>
          ) : (
            usageWords(step.usage).join(" · ")
          )}
          {faded ? " · taken back" : ""}
        </span>
        <span class="right actions">{actions}</span>
      </header>
      {open ? (
        <Code text={step.code} language={step.language} />
      ) : (
        <p class="dim small">{lines} lines of code</p>
      )}
      <div class="pieces">
        {step.pieces.map((piece, i) => (
          <PieceView key={i} piece={piece} />
        ))}
        {step.failure && <FailureView failure={step.failure} />}
        {step.notes.map((note) => (
          <p class="dim small">{note}</p>
        ))}
        <Files files={step.files} />
      </div>
    </article>
  );
}
