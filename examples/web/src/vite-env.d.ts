interface ImportMetaEnv {
  readonly VITE_BROKER?: string;
  readonly VITE_AUTHORITY?: string;
  readonly VITE_CLIENT_ID?: string;
  readonly VITE_SCOPE?: string;
}
