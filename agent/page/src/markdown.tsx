// What a model has written: Markdown, of which only harmless HTML is left.
import DOMPurify from "dompurify";
import { marked } from "marked";
import { useMemo } from "preact/hooks";

const kRules = {
  ALLOWED_TAGS:
    "p br hr em strong del code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td a sup sub".split(
      " ",
    ),
  ALLOWED_ATTR: ["href", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i,
  // The policy of the page takes no text as HTML but what DOMPurify has made (Trusted Types).
  RETURN_TRUSTED_TYPE: true as const,
};

// Nothing is fetched for it, and where a link leads is for its reader to decide.
DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
  node.setAttribute("title", node.getAttribute("href") ?? "");
});

export function Markdown({ text }: { text: string }) {
  const html = useMemo(
    () => DOMPurify.sanitize(marked.parse(text, { async: false, gfm: true, breaks: true }), kRules),
    [text],
  );
  return <div class="prose" dangerouslySetInnerHTML={{ __html: html as unknown as string }} />;
}
