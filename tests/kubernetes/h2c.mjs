// POSTs to a URL over HTTP/2 in clear, without asking first, as a gateway does where a Service says kubernetes.io/h2c.
//
// node h2c.mjs URL TOKEN     prints the status
import { connect } from "node:http2";

const url = new URL(process.argv[2]);
const session = connect(url.origin);
const fail = (error) => {
  console.error(error.message);
  process.exit(1);
};
session.on("error", fail);
const request = session.request({ ":method": "POST", ":path": url.pathname, authorization: `Bearer ${process.argv[3]}` });
request.on("error", fail);
request.on("response", (headers) => console.log(headers[":status"]));
request.resume();
request.on("close", () => session.close());
request.end();
