import { defineConfig } from "vite";

// Everything is a file of its own at /assets: the page's CSP allows neither inline scripts nor data: fonts.
export default defineConfig({
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: {
      "^/(?!src|@|node_modules|index.html)": process.env.JAILAGENT ?? "http://127.0.0.1:8000",
    },
  },
});
