// A picture of what stands in a terminal, colours and all.
//
// node picture.mjs TERMINAL.ansi PICTURE.png
import { readFileSync } from "node:fs";
import { AnsiUp } from "ansi_up";
import { chromium } from "playwright-core";

const [file, png] = process.argv.slice(2);
// Without the empty lines at the end, and the last prompt.
const text = readFileSync(file, "utf8").replace(/[\s$]+$/, "");
const converter = new AnsiUp();
converter.use_classes = true;
const style = `
  body { margin: 0; }
  pre { display: inline-block; margin: 0; padding: 16px 20px; background: #16181d; color: #d7dae0; font: 13px/1.4 "DejaVu Sans Mono", monospace; }
  .ansi-green-fg { color: #57c46b; } .ansi-red-fg { color: #ff6b6b; } .ansi-yellow-fg { color: #e5c453; } .ansi-bright-black-fg { color: #8b919c; }`;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1600, height: 400 } });
await page.setContent(`<!doctype html><meta charset="utf-8"><style>${style}</style><pre>${converter.ansi_to_html(text)}</pre>`);
await page.locator("pre").screenshot({ path: png });
await browser.close();
