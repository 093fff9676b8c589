// embed.mjs DIST_DIR OUT_DIR: writes OUT_DIR/assets.cc and the files that it takes in, plain and gzip.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const [dist, out] = process.argv.slice(2);
const types = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};
const files = [
  "index.html",
  ...readdirSync(join(dist, "assets"))
    .sort()
    .map((name) => `assets/${name}`),
];
const names = [];
const rows = [];
files.forEach((file, i) => {
  const type = types[file.split(".").pop()];
  if (!type) throw new Error(`${file}: no such type is served`);
  const plain = readFileSync(join(dist, file));
  const forms = { plain, gzip: gzipSync(plain, { level: 9 }) };
  const views = [];
  for (const [form, bytes] of Object.entries(forms)) {
    const symbol = `jailrun_page_${i}_${form}`;
    const path = join(out, symbol);
    writeFileSync(path, bytes);
    names.push(
      `asm(".pushsection .rodata\\n.global ${symbol}\\n${symbol}:\\n.incbin \\"${path}\\"\\n.popsection\\n");`,
    );
    names.push(`extern "C" const char ${symbol}[];`);
    views.push(`{${symbol}, ${bytes.length}}`);
  }
  const etag = `\\"${createHash("sha256").update(plain).digest("hex").slice(0, 32)}\\"`;
  const path = file === "index.html" ? "/" : `/${file}`;
  rows.push(`    {"${path}", "${type}", "${etag}", ${views.join(", ")}},`);
});
writeFileSync(
  join(out, "assets.cc"),
  `#include "agent/page/assets.h"

${names.join("\n")}

namespace jailrun::page {

std::span<const Asset> assets() {
  static const Asset kAssets[] = {
${rows.join("\n")}
  };
  return kAssets;
}
std::string_view missing() { return {}; }

}  // namespace jailrun::page
`,
);
