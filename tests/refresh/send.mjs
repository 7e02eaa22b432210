// HTTP by node:https. Node's `fetch` sets its timers with the global `setTimeout`, which is moved here.
import https from "node:https";

/** Sends, and reads JSON; fails if the status is not 200. */
export function send(method, url, { headers = {}, body = "" } = {}) {
  return new Promise((resolve, reject) => {
    const length = { "Content-Length": Buffer.byteLength(body) };
    const request = https.request(url, { method, headers: { ...headers, ...length } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part) => (text += part));
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${method} ${url}: ${response.statusCode} ${text}`));
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}
