// The data that questions are about: files to pick or drop in, data sets that are registered.
import { useState } from "preact/hooks";
import { download } from "../api";
import { fileUrl, removeFile, takeFiles } from "../data";
import { change, has, say, state } from "../state";
import type { StoredFile } from "../types";
import { bytes, wordsOf } from "../words";

// Takes files that are picked, dropped or pasted.
export function Drop({ take, label }: { take: (files: Iterable<File>) => void; label: string }) {
  const [over, setOver] = useState(false);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer?.files ?? []);
  };
  return (
    <label
      class={`drop${over ? " over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <input
        type="file"
        multiple
        class="unseen"
        onChange={(event) => {
          take([...(event.currentTarget.files ?? [])]);
          event.currentTarget.value = "";
        }}
      />
      <span>{label}</span>
    </label>
  );
}

export function Uploads() {
  return (
    <>
      {state.uploads.map((each) => (
        <p class="small upload">
          {each.name}
          <progress value={each.part} max={1} aria-label={`Upload of ${each.name}`} />
        </p>
      ))}
    </>
  );
}

function FileRow({ file }: { file: StoredFile }) {
  const choose = (on: boolean) => {
    if (on) state.chosen.add(file.id);
    else state.chosen.delete(file.id);
    if (on) state.dataSet = "";
    change();
  };
  return (
    <li>
      <label title={file.name}>
        <input
          type="checkbox"
          checked={state.chosen.has(file.id)}
          onChange={(event) => choose(event.currentTarget.checked)}
        />
        <span class="name">{file.name}</span>
        <span class="dim small">{bytes(file.bytes)}</span>
      </label>
      <button
        class="link small"
        aria-label={`Download ${file.name}`}
        onClick={() => download(fileUrl(file), file.name).catch((error) => say(wordsOf(error)))}
      >
        Save
      </button>
      <button
        class="link small"
        aria-label={`Delete ${file.name}`}
        onClick={() => removeFile(file)}
      >
        Delete
      </button>
    </li>
  );
}

export function DataPanel() {
  const choose = (id: string) => {
    state.dataSet = id;
    if (id) state.chosen.clear();
    change();
  };
  return (
    <section class="panel" aria-label="Data">
      <h2>Data</h2>
      {has("GET /datasets") && (
        <>
          <label class="small dim" for="dataset">
            Data set
          </label>
          <select
            id="dataset"
            value={state.dataSet}
            onChange={(event) => choose(event.currentTarget.value)}
          >
            <option value="">{state.files.length ? "My files" : "None"}</option>
            {state.dataSets.map((each) => (
              <option value={each.id}>{each.name}</option>
            ))}
          </select>
          <p class="dim small">
            {state.dataSets.find((each) => each.id === state.dataSet)?.description}
          </p>
        </>
      )}
      {has("POST /v1/users/{uid}/files") && (
        <>
          <Drop take={takeFiles} label="Drop files here, or choose them" />
          <Uploads />
          <ul class="filelist" aria-label="Stored files">
            {state.files.map((file) => (
              <FileRow key={file.id} file={file} />
            ))}
          </ul>
          {state.files.length > 0 && (
            <p class="dim small">Questions are about the files that are ticked.</p>
          )}
        </>
      )}
    </section>
  );
}
