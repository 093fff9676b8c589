// Data: files in the service's store, and registered data sets.
import { Refused, call, upload } from "./api";
import { change, has, say, state } from "./state";
import type { StoredFile } from "./types";
import { wordsOf } from "./words";

const base = () => `/v1/users/${encodeURIComponent(state.user)}/files`;

function fileOf(row: any): StoredFile {
  return { id: row.file_id, name: row.filename, bytes: row.file_size, expires: row.expires_at };
}

export const fileUrl = (file: StoredFile) => `${base()}/${file.id}/content`;

export async function loadData(): Promise<void> {
  if (has("GET /v1/users/{uid}/files")) state.files = (await call("GET", base())).files.map(fileOf);
  if (has("GET /datasets")) state.dataSets = (await call("GET", "/datasets")).datasets;
  const known = new Set(state.files.map((file) => file.id));
  for (const id of state.chosen) if (!known.has(id)) state.chosen.delete(id);
  change();
}

export async function takeFiles(files: Iterable<File>): Promise<void> {
  for (const file of files) {
    const row = { name: file.name, part: 0 };
    state.uploads.push(row);
    change();
    try {
      const path = `${base()}?filename=${encodeURIComponent(file.name)}`;
      const made = await upload("POST", path, file, (part) => {
        row.part = part;
        change();
      });
      state.files.unshift(fileOf(made.metadata));
      state.chosen.add(made.file_id);
      state.dataSet = "";
    } catch (error) {
      say(`${file.name}: ${wordsOf(error)}`);
    }
    state.uploads.splice(state.uploads.indexOf(row), 1);
    change();
  }
}

export async function removeFile(file: StoredFile): Promise<void> {
  try {
    await call("DELETE", `${base()}/${file.id}`);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) return say(wordsOf(error));
  }
  state.files = state.files.filter((each) => each !== file);
  state.chosen.delete(file.id);
  change();
}
