import { defineConfig } from "vite";

export default defineConfig({
  // The port is part of the page's origin and of the redirect URI, so no other is taken.
  server: { port: 5173, strictPort: true },
  preview: { port: 5173, strictPort: true },
  // redirect.html is a page of its own: MSAL needs it for popups and hidden frames.
  build: { rolldownOptions: { input: ["index.html", "redirect.html"] } },
});
