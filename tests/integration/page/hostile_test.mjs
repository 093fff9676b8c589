// Whatever a guest or a model shows: nothing of it runs, nothing of it asks anybody for anything.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bench, bin, run, serve, session, shot } from "./bench.mjs";
import { Service, visit } from "./service.mjs";

// Whoever comes here has been sent by what a guest or a model wrote.
const visits = [];
const elsewhere = createServer((request, reply) => {
  visits.push(request.url);
  reply.end();
});
await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
after(() => elsewhere.close());
const away = `http://127.0.0.1:${elsewhere.address().port}`;

const canary = "parent.canary = top.canary = window.canary = 1";
const markdown =
  `# md <script>${canary}</script> <img src=x onerror="${canary}"> ![p](${away}/p.png) [j](javascript:${canary}) ` +
  `<iframe src="${away}/f"></iframe> <a href="${away}/" onclick="${canary}">here</a> <style>@import "${away}/s.css"</style>`;

// A model that says this to everything, in Chat Completions' stream.
const model = createServer((request, reply) => {
  request.resume();
  const chunks = [
    { choices: [{ index: 0, delta: { content: markdown } }] },
    { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] },
    { choices: [], usage: { prompt_tokens: 9, completion_tokens: 9 } },
  ];
  reply.writeHead(200, { "Content-Type": "text/event-stream" });
  reply.end(
    chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("") + "data: [DONE]\n\n",
  );
});
await new Promise((resolve) => model.listen(0, "127.0.0.1", resolve));
after(() => model.close());

serve(async () => ({
  env: {
    LLM_PROVIDER: "openai",
    OPENAI_API_KEY: "sk-test",
    OPENAI_BASE_URL: `http://127.0.0.1:${model.address().port}/v1`,
    OPENAI_MODEL: "gpt-4o-mini",
  },
}));

const hostile = `
class Page:
    def __init__(self, kind, text): self.kind, self.text = kind, text
    def _repr_mimebundle_(self, include=None, exclude=None): return {self.kind: self.text, "text/plain": "x"}
html = '''<h1 id="seen">guest</h1><script>${canary}</script><img src=x onerror="${canary}"><svg onload="${canary}"></svg>
<iframe srcdoc="<script>${canary}</script>"></iframe><a href="javascript:${canary}">a</a><base href="${away}/">
<meta http-equiv="refresh" content="0;url=${away}/"><img src="/sessions"><style>@import "${away}/a.css"; body { background: url(${away}/b) }</style>
<form action="/v1/run" method="post"><button>go</button></form><object data="/"></object>'''
display(Page("text/html", html))
display(Page("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>${canary}</script><rect width="9" height="9" onload="${canary}"/><image href="${away}/c.png"/></svg>'))
display(Page("text/markdown", ${JSON.stringify(markdown)}))
print("<img src=x onerror='${canary}'><script>${canary}</script>")
import pandas as pd
pd.DataFrame({"<img src=x onerror='${canary}'>": ["<script>${canary}</script>", "=cmd()"]})
`;

async function nothingHappened(page) {
  await page.waitForTimeout(300); // what would run, would have run by then
  for (const each of page.frames())
    assert.equal(await each.evaluate(() => window.canary).catch(() => undefined), undefined);
  assert.deepEqual(visits, []);
  assert.deepEqual(
    page.wrong.filter((each) => each.startsWith("error:")),
    [],
  );
  assert.equal(new URL(page.url()).pathname, "/");
  assert.equal(
    await page.locator(".prose script, .prose img, .prose iframe, .prose style").count(),
    0,
  );
}

test("nothing that a guest shows runs, or asks anybody for anything", async () => {
  const page = await visit(bench.browser, bench.service, { at: "/#console" });
  await session(page);
  const step = await run(page, hostile);
  await step.locator("iframe").first().waitFor();
  const sandboxes = await step
    .locator("iframe")
    .evaluateAll((all) => all.map((each) => each.getAttribute("sandbox")));
  assert.deepEqual(sandboxes, ["", ""]);
  await nothingHappened(page);
  await shot(page, "hostile");
  await page.context().close();
});

test("nor does what a model writes", async () => {
  const page = await visit(bench.browser, bench.service, { at: "/#ask" });
  const file = {
    name: "a.csv",
    mimeType: "text/csv",
    buffer: Buffer.from(`"<img src=x onerror='${canary}'>",b\n1,2\n`),
  };
  await page.getByText("Drop files here").locator("..").locator("input").setInputFiles(file);
  await page.getByRole("checkbox", { name: /a.csv/ }).waitFor();
  await page.getByRole("textbox", { name: "Question" }).fill(`<script>${canary}</script>`);
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "here" }).waitFor();
  await nothingHappened(page);
  await shot(page, "hostile-model");
  await page.context().close();
});

test("where there are keys, the page asks for one, and sends it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "page-keys-"));
  const path = join(folder, "keys.json");
  const key = execFileSync(join(bin, "jailagent"), ["keys", "--keys", path, "add", "me"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const locked = await Service.start(bin, { extra: ["--keys", path] });
  try {
    const page = await visit(bench.browser, locked);
    await page.getByLabel("Key", { exact: true }).fill("jr_wrong");
    await page.getByRole("button", { name: "Enter" }).click();
    await page.getByText("This key is not known here").waitFor();
    await shot(page, "key");
    await page.getByLabel("Key", { exact: true }).fill(String(key));
    await page.getByRole("button", { name: "Enter" }).click();
    await page.getByText("Ask about your data").waitFor();
    await page.context().close();
  } finally {
    await locked.end();
    rmSync(folder, { recursive: true });
  }
});

test("the page itself takes no script from elsewhere, and no frame around it", async () => {
  const reply = await fetch(bench.service.url, { headers: { "Accept-Encoding": "identity" } });
  const policy = reply.headers.get("content-security-policy");
  for (const rule of [
    "default-src 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
    "base-uri 'none'",
  ])
    assert.ok(policy.includes(rule));
  assert.ok(!/script-src|unsafe-eval/.test(policy)); // scripts go by default-src
  const text = await reply.text();
  assert.ok(!/<script(?![^>]*\bsrc=)/.test(text));
  for (const word of [
    "CSV Analyst Chat (Minimal)",
    'id="dataset"',
    'id="messages"',
    "/chat/stream",
    "Suggested prompts:",
  ])
    assert.ok(text.includes(word));
  const again = await fetch(bench.service.url, {
    headers: { "If-None-Match": reply.headers.get("etag") },
  });
  assert.equal(again.status, 304);
  const script = /src="([^"]+\.js)"/.exec(text)[1];
  const asset = await fetch(bench.service.url + script);
  assert.equal(asset.headers.get("content-encoding"), "gzip");
  assert.match(asset.headers.get("cache-control"), /immutable/);
  assert.match(asset.headers.get("content-type"), /^text\/javascript/);
});
