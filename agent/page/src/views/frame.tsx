// A guest's HTML or SVG. The frame has an origin of its own, runs no script, and asks nobody for anything.
import { useMemo, useState } from "preact/hooks";

const kPolicy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:";

function documentOf(html: string, dark: boolean): string {
  const colours = dark ? "color:#d9dee3;background:#171b1f" : "color:#1c2126;background:#fff";
  return (
    `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${kPolicy}">` +
    `<style>body{margin:8px;font:13px/1.45 system-ui,sans-serif;${colours}}table{border-collapse:collapse}` +
    `th,td{padding:3px 9px;border:1px solid #8884}svg,img{max-width:100%;height:auto}</style>${html}`
  );
}

// It cannot tell us how tall it is.
function heightOf(html: string): number {
  const rows = html.match(/<tr[\s>]|<br|<p[\s>]|<div[\s>]|<li[\s>]/gi)?.length ?? 0;
  const drawn =
    /<svg[^>]*?\sheight="([\d.]+)(?:pt|px)?"/i.exec(html)?.[1] ??
    /<svg[^>]*?\sviewBox="\S+ \S+ \S+ ([\d.]+)"/i.exec(html)?.[1];
  return Math.min(440, drawn ? Number(drawn) * 1.4 + 30 : 60 + rows * 27);
}

// The one other place where text becomes HTML: what the sandbox below takes all rights from.
interface Policies {
  createPolicy(name: string, rules: { createHTML: (html: string) => string }): {
    createHTML: (html: string) => unknown;
  };
}
const policies = (globalThis as unknown as { trustedTypes?: Policies }).trustedTypes;
const sandboxed = policies?.createPolicy("guest-frame", { createHTML: (html) => html });

export function GuestFrame({ html, name }: { html: string; name: string }) {
  const dark = document.documentElement.dataset.shade === "dark";
  const [open, setOpen] = useState(true);
  const source = useMemo(() => {
    const text = documentOf(html, dark);
    return (sandboxed?.createHTML(text) ?? text) as string;
  }, [html, dark]);
  return (
    <figure class="guest">
      <figcaption>
        <button class="link" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "Hide" : "Show"} {name}
        </button>
        <span class="dim"> made by the code; shown without scripts</span>
      </figcaption>
      {open && (
        <iframe
          title={`${name} made by the code`}
          sandbox=""
          srcdoc={source}
          height={heightOf(html)}
          loading="lazy"
        />
      )}
    </figure>
  );
}
