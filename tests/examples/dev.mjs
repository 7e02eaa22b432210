// The addresses of `dev` and its emulator's controls. tests/examples.sh gives the addresses in the environment.

/** The two that are run: in passthrough and in on_behalf_of mode. */
export const passthrough = addresses("PASSTHROUGH");
export const onBehalfOf = addresses("ON_BEHALF_OF");

function addresses(prefix) {
  const [broker, emulator] = (process.env[prefix] ?? "").split(" ");
  if (!emulator) throw new Error(`${prefix} is not set: these scripts are run by tests/examples.sh`);
  return { broker, emulator };
}

/** Calls one of the emulator's controls. */
export async function control(dev, method, path, body) {
  const response = await fetch(`${dev.emulator}/_emulator/${path}`, { method, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** What the applications are told by their environment variables. */
export function variables(dev, prefix = "") {
  const scope =
    dev === passthrough
      ? "https://communication.azure.com/clients/VoIP"
      : "api://c0a5a991-0000-4000-8000-000000000005/access";
  return {
    [`${prefix}BROKER`]: dev.broker,
    [`${prefix}AUTHORITY`]: `${dev.emulator}/organizations`,
    [`${prefix}SCOPE`]: scope,
  };
}
