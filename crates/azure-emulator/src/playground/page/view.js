// @ts-check
/** What the page shows. Every text goes in as text, never as markup. */

/** @import { Answer, User } from "./types" */
import { challengedClaims, stages } from "./broker.js";
import { explain } from "./refusals.js";
import { claims, isEncrypted, shortened, shown, spelled } from "./tokens.js";

/**
 * @param {string} name @param {Record<string, string>} [attributes] @param {...(Node | string)} children
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found;
}

/** @param {string} text @param {string} what */
export function copyButton(text, what) {
  const button = element("button", { type: "button", class: "small", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

/** @param {[string, Node | string][]} rows */
function facts(rows) {
  const list = element("dl", { class: "facts" });
  for (const [term, value] of rows) list.append(element("dt", {}, term), element("dd", {}, value));
  return list;
}

/** @param {Headers} headers */
function cacheBadge(headers) {
  const outcome = headers.get("x-cache");
  const words = { hit: "from the cache", miss: "a new exchange", shared: "another request's exchange" };
  if (!outcome) return "";
  return element("span", { class: "badge" }, `${outcome}: ${words[/** @type {"hit"} */ (outcome)] ?? ""}`);
}

/** When the broker begins to renew a cached token in the background (docs/caching.md). */
const REFRESH_AHEAD = 20 * 60_000;

/** @param {Answer} answer @param {User} user */
function success(answer, user) {
  const body = /** @type {{identity: {id: string}, accessToken: {token: string, expiresOn: string}}} */ (answer.body);
  const { token, expiresOn } = body.accessToken;
  const end = Date.parse(expiresOn);
  const renewal = new Date(end - REFRESH_AHEAD).toLocaleTimeString();
  const shownToken = element("span", {}, element("code", {}, shortened(token)), " ", copyButton(token, "the ACS token"));
  return [
    element(
      "div",
      { class: "outcome good" },
      element("strong", {}, `200: ${user.displayName} has an ACS token`),
      cacheBadge(answer.headers),
    ),
    facts([
      ["User", `${user.displayName} (${user.tenant})`],
      ["Object id", element("code", {}, user.objectId)],
      ["ACS identity", element("code", {}, body.identity.id)],
      ["Token", shownToken],
      ["Ends", `${expiresOn}, in ${spelled(end - Date.now())}`],
      ["Renewal", `The broker renews it in the background from ${renewal} on, if the Entra token then sent lives longer.`],
      ["Request id", element("code", {}, answer.headers.get("x-ms-request-id") ?? "")],
    ]),
  ];
}

/** @param {Answer} answer @param {User} user @param {(claims: string) => void} signInAgain */
function refused(answer, user, signInAgain) {
  const error = /** @type {any} */ (answer.body)?.error ?? {};
  const inner = error.innererror?.code;
  const meaning = explain(error.code, inner);
  const code = [error.code, inner].filter(Boolean).join(" / ");
  const link = element("a", { href: `/docs/troubleshooting#${(error.code ?? "").toLowerCase()}` }, `More about ${error.code}`);
  const challenge = answer.headers.get("www-authenticate");
  const claimsRequest = challengedClaims(challenge);
  /** @type {[string, Node | string][]} */
  const rows = [
    ["Code", element("code", {}, code)],
    ["Message", error.message ?? ""],
    ["What it means", meaning.meaning],
    ["What to do", meaning.action],
    ["User", `${user.displayName} (${user.tenant})`],
    ["Object id", element("code", {}, user.objectId)],
    ["Request id", element("code", {}, answer.headers.get("x-ms-request-id") ?? "")],
  ];
  const retryAfter = answer.headers.get("retry-after");
  if (retryAfter) rows.push(["Retry after", `${retryAfter} seconds`]);
  if (challenge) rows.push(["Challenge", element("code", {}, challenge)]);
  rows.push(["Read on", link]);
  const parts = [
    element("div", { class: "outcome bad" }, element("strong", {}, `${answer.status}: ${meaning.title}`)),
    facts(rows),
  ];
  if (claimsRequest) {
    const again = element("button", { type: "button", class: "primary" }, "Sign in again with these claims");
    again.addEventListener("click", () => signInAgain(claimsRequest));
    parts.push(again);
  }
  return parts;
}

const NAMES = {
  authenticate: "Verify the token",
  authorize: "Find an assignment",
  exchange: "Cache or exchange",
};

/** Bars as an SVG: the page's policy allows no inline style. @param {Answer} answer */
function waterfall(answer) {
  const known = stages(answer.headers.get("server-timing"));
  if (known.length === 0) return [];
  const inside = known.reduce((sum, stage) => sum + stage.duration, 0);
  const rows = [...known, { name: "The way there and back", duration: Math.max(0, answer.took - inside) }];
  const list = element("ol", { class: "waterfall" });
  let start = 0;
  rows.forEach(({ name, duration }, index) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 1000 14");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const total = Math.max(answer.took, inside, 0.001);
    bar.setAttribute("x", String((start / total) * 1000));
    bar.setAttribute("width", String(Math.max(3, (duration / total) * 1000)));
    bar.setAttribute("height", "14");
    bar.setAttribute("rx", "3");
    bar.setAttribute("class", `bar-${(index % 4) + 1}`);
    svg.append(bar);
    start += duration;
    const label = NAMES[/** @type {"exchange"} */ (name)] ?? name;
    list.append(element("li", {}, label, svg, element("span", { class: "ms" }, `${duration.toFixed(2)} ms`)));
  });
  return [element("h3", {}, `Where the ${answer.took.toFixed(1)} ms went`), list];
}

/** @param {string} title @param {string} token */
function claimsTable(title, token) {
  const section = element("section", {}, element("h3", {}, title));
  const known = claims(token);
  if (!known) {
    const why = isEncrypted(token) ? "It is encrypted: only ACS reads it." : "It is opaque: only ACS reads it.";
    section.append(element("p", { class: "note" }, why));
    return section;
  }
  const table = element("table", { class: "claims" });
  for (const [name, value] of Object.entries(known)) {
    table.append(element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, shown(name, value))));
  }
  section.append(table);
  return section;
}

/**
 * @param {Answer} answer @param {User} user @param {string} entraToken @param {(claims: string) => void} signInAgain
 */
export function showAnswer(answer, user, entraToken, signInAgain) {
  const good = answer.status === 200;
  byId("answer").replaceChildren(...(good ? success(answer, user) : refused(answer, user, signInAgain)));
  const tables = element("div", { class: "two" }, claimsTable("Claims of the Entra token", entraToken));
  if (good) {
    const token = /** @type {any} */ (answer.body).accessToken.token;
    tables.append(claimsTable("Claims of the ACS token (an application never looks)", token));
  }
  byId("more").replaceChildren(...waterfall(answer), tables);
}

/** A sign-in that Entra refused. @param {{code: string, description: string}} error */
export function showSignInError(error) {
  byId("answer").replaceChildren(
    element("div", { class: "outcome bad" }, element("strong", {}, "Entra refused the sign-in")),
    facts([
      ["Code", element("code", {}, error.code)],
      ["Message", error.description],
    ]),
  );
  byId("more").replaceChildren();
}

/** @param {string} sentence */
export function showFailure(sentence) {
  byId("answer").replaceChildren(
    element("div", { class: "outcome bad" }, element("strong", {}, "The broker could not be reached")),
    element("p", {}, sentence),
  );
  byId("more").replaceChildren();
}

/** @param {{name: string, text: string}[]} list */
export function showSnippets(list) {
  const [tabs, panel] = [byId("code-tabs"), byId("code-panel")];
  /** @param {number} chosen */
  const choose = (chosen) => {
    [...tabs.children].forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === chosen));
      tab.setAttribute("tabindex", index === chosen ? "0" : "-1");
    });
    const { name, text } = list[chosen];
    panel.setAttribute("aria-label", name);
    const head = element("div", { class: "head" }, element("span", {}, ""), copyButton(text, `the ${name} code`));
    panel.replaceChildren(head, element("pre", {}, element("code", {}, text)));
  };
  tabs.replaceChildren(
    ...list.map(({ name }, index) => {
      const tab = element("button", { type: "button", role: "tab", class: "small", "aria-controls": "code-panel" }, name);
      tab.addEventListener("click", () => choose(index));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = (index + step + list.length) % list.length;
        choose(next);
        /** @type {HTMLElement} */ (tabs.children[next]).focus();
      });
      return tab;
    }),
  );
  choose(0);
  byId("code").hidden = false;
}
