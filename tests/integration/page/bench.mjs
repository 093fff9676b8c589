// What the tests of the page share: a browser on a service, and what a person does in the console.
//
//     node NAME_test.mjs BIN_DIR SHOTS_DIR SOURCE_DIR     BIN_DIR holds jaild and jailagent; pictures go to SHOTS_DIR
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { Service, browse, kChromium, visit } from "./service.mjs";

export const [bin, shots, source] = process.argv.slice(2);
if (!kChromium) {
  console.log("Skipped\nno Chromium in /usr/bin");
  process.exit(0);
}
mkdirSync(shots, { recursive: true });

export const bench = { service: null, browser: null };

// Before the tests of a file, and after them. `prepare` gives options of Service.start.
export function serve(prepare = async () => ({})) {
  before(async () => {
    bench.service = await Service.start(bin, await prepare());
    bench.browser = await browse();
    await bench.service.warm();
  });
  after(async () => {
    await bench.browser?.close();
    await bench.service?.end();
  });
}

export const shot = (page, name) => page.screenshot({ path: join(shots, `${name}.png`) });
export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const saved = async (page, act) =>
  (await Promise.all([page.waitForEvent("download"), act()]))[0].path();

// Opens a page, does something, and sees that nothing went wrong on the way.
export async function on(options, act) {
  for (const { id } of (await (await bench.service.ask("GET", "/v1/sessions")).json()).sessions)
    await bench.service.ask("DELETE", `/v1/sessions/${id}`);
  const page = await visit(bench.browser, bench.service, options);
  try {
    await act(page);
    assert.deepEqual(page.wrong, []);
    assert.deepEqual(await page.evaluate(() => window.refusals), []);
  } catch (error) {
    await shot(page, "failed");
    throw error;
  } finally {
    await page.context().close();
  }
}

export async function session(page) {
  await page.getByRole("button", { name: /^(Begin a|New) session$/ }).waitFor();
  const tabs = await page.getByRole("tab").count();
  await (tabs ? button(page, "New session") : button(page, "Begin a session")).click();
  await page.getByRole("tab").nth(tabs).waitFor();
}

export async function run(page, code) {
  const count = await page.locator("article.step").count();
  await page.getByRole("textbox", { name: /^Python for/ }).fill(code);
  await page.keyboard.press("Control+Enter");
  await page.locator("article.step").nth(count).waitFor();
  await page.locator("article.step.running").waitFor({ state: "detached", timeout: 60_000 });
  // Its state is saved after it has run: until then another cell would wait.
  await page.locator(".composer button.stop").first().waitFor({ state: "detached", timeout: 60_000 });
  return page.locator("article.step").nth(count);
}

export const frame = `import pandas as pd, numpy as np
rng = np.random.default_rng(1)
df = pd.DataFrame({"region": rng.choice(["north", "south", "east"], 120), "units": rng.permutation(120)})
df`;
