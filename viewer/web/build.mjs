// Bundles src/ and the pinned packages into one script: `node build.mjs [FOLDER]`, dist/ without it.
// A plain script rather than a module, because a page opened from file:// may not import modules.
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const folder = process.argv[2] ?? join(here, "dist");

const notices = ["three", "@sparkjsdev/spark", "fflate"].map((name) => {
  const root = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  return `${name} ${version} (${license})\n\n${readFileSync(join(root, "LICENSE"), "utf8").trim()}`;
});

await build({
  entryPoints: [join(here, "src", "main.js")],
  outfile: join(folder, "page.js"),
  bundle: true,
  format: "iife",
  minify: true,
  charset: "ascii", // a page says nothing wrong whatever encoding a server claims for it
  target: ["es2022"],
  legalComments: "eof",
  banner: { js: `/*! Contains:\n\n${notices.join("\n\n---\n\n").replaceAll("*/", "* /")}\n*/` },
  logLevel: "warning",
});
