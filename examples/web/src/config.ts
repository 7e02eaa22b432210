const environment = import.meta.env;

/** What differs between the emulator (the defaults: `acs-token-broker dev --tls`) and Azure. */
export const config = {
  /** The broker, without a slash at the end. */
  broker: environment.VITE_BROKER ?? "https://localhost:8080",
  /** Where users sign in; with Entra for example https://login.microsoftonline.com/organizations. */
  authority: environment.VITE_AUTHORITY ?? "https://localhost:8090/organizations",
  /** The application's own registration. */
  clientId: environment.VITE_CLIENT_ID ?? "c0a5a990-0000-4000-8000-000000000003",
  /** What Entra is asked for; in modes other than passthrough the broker's own API: api://…/access. */
  scopes: [environment.VITE_SCOPE ?? "https://communication.azure.com/clients/VoIP"],
};
