// The service, as this page calls it. Errors are thrown as Refused, in words that a person can use.

export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export interface Event {
  name: string;
  data: any;
}

const kKey = "jailrun.key";
let key = sessionStorage.getItem(kKey) ?? "";

export const hasKey = () => key !== "";
export function setKey(value: string): void {
  key = value.trim();
  sessionStorage.setItem(kKey, key);
}

function headers(more: Record<string, string> = {}): Record<string, string> {
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

// {"detail": "…"} or {"detail": [{"loc", "msg"}]}
function wordsOf(status: number, text: string): string {
  let detail = "";
  try {
    const body = JSON.parse(text).detail;
    detail = Array.isArray(body)
      ? body.map((each) => `${each.loc?.at(-1)}: ${each.msg}`).join("; ")
      : String(body);
  } catch {
    detail = text.slice(0, 300);
  }
  if (status === 401) return "This service asks for a key.";
  if (status === 413) return "That is larger than the service takes.";
  if (status === 429) return `The service is busy: ${detail}. Try again in a moment.`;
  if (status === 503) return `No jail is to be had right now: ${detail}`;
  return detail || `The service answered with status ${status}.`;
}

async function reply(promise: Promise<Response>): Promise<Response> {
  const response = await promise.catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused(0, "The service does not answer. Is it running?");
  });
  if (!response.ok)
    throw new Refused(response.status, wordsOf(response.status, await response.text()));
  return response;
}

function send(
  method: string,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<Response> {
  const type: Record<string, string> =
    body === undefined ? {} : { "Content-Type": "application/json" };
  const text = body === undefined ? undefined : JSON.stringify(body);
  return reply(fetch(path, { method, headers: headers(type), body: text, signal }));
}

export async function call(method: string, path: string, body?: unknown): Promise<any> {
  return (await send(method, path, body)).json();
}

export async function text(path: string): Promise<string> {
  return (await send("GET", path)).text();
}

export async function blob(path: string): Promise<Blob> {
  return (await send("GET", path)).blob();
}

// "POST /chat" of all that this service answers.
export async function routes(): Promise<Set<string>> {
  const all = new Set<string>();
  const document = await call("GET", "/openapi.json");
  for (const [path, methods] of Object.entries(document.paths as Record<string, object>))
    for (const method of Object.keys(methods)) all.add(`${method.toUpperCase()} ${path}`);
  return all;
}

// Server-sent events of a POST, as they come. Aborting `signal` ends what was asked for.
export async function* events(
  path: string,
  body: unknown,
  signal: AbortSignal,
): AsyncGenerator<Event> {
  const response = await send("POST", path, body, signal);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    let end: number;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      let name = "message";
      const data: string[] = [];
      for (const line of rest.slice(0, end).split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data.push(line.slice(6));
      }
      rest = rest.slice(end + 2);
      yield { name, data: data.length ? JSON.parse(data.join("\n") || "null") : null };
    }
  }
}

// A file is sent from disk, whatever its size; fetch() cannot tell how far it is.
export function upload(
  method: string,
  path: string,
  file: Blob,
  progress: (part: number) => void,
): Promise<any> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0);
    request.onerror = () =>
      reject(new Refused(0, "The file did not arrive: it may be larger than the service takes."));
    request.onload = () => {
      if (request.status >= 400)
        reject(new Refused(request.status, wordsOf(request.status, request.responseText)));
      else resolve(JSON.parse(request.responseText || "null"));
    };
    request.send(file);
  });
}

export function saveBlob(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Links cannot bear a key; without one the browser streams to disk by itself.
export async function download(path: string, name: string): Promise<void> {
  if (key) return saveBlob(await blob(path), name);
  const link = document.createElement("a");
  link.href = path;
  link.download = name;
  link.click();
}
