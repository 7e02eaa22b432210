/** What `GET /_emulator/playground` answers. */
export interface Settings {
  clientId: string;
  users: User[];
  modes: Mode[];
}
export interface User {
  name: string;
  displayName: string;
  userPrincipalName: string;
  objectId: string;
  tenantId: string;
  tenant: string;
  note: string;
}
export interface Mode {
  name: string;
  title: string;
  note: string;
  /** The broker that runs in this mode. */
  broker: string;
  /** The scopes that the front end asks Entra for. */
  scopes: string[];
  selected: boolean;
}
/** A user who is signed in. */
export interface Session {
  user: string;
  mode: string;
  accessToken: string;
}
export interface Answer {
  status: number;
  headers: Headers;
  body: unknown;
  /** Milliseconds from sending to the last byte. */
  took: number;
}
export interface Refusal {
  title: string;
  meaning: string;
  action: string;
}
