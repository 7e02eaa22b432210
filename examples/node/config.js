// The defaults are those of the emulator: `acs-token-broker dev --tls`.
export const broker = process.env.BROKER ?? "https://localhost:8080";
export const authority = new URL(process.env.AUTHORITY ?? "https://localhost:8090/organizations");
export const clientId = process.env.CLIENT_ID ?? "c0a5a990-0000-4000-8000-000000000003";
export const scope = process.env.SCOPE ?? "https://communication.azure.com/clients/VoIP";
