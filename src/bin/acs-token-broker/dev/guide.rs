//! What `dev` prints once it runs: the addresses, and what to type.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::Mode;

/// What is running.
pub(super) struct Guide<'g> {
    pub(super) mode: Mode,
    pub(super) broker: &'g str,
    pub(super) management: SocketAddr,
    pub(super) emulator: &'g str,
    /// The CA to trust, if the certificate is one of ours.
    pub(super) ca: Option<&'g Path>,
    /// The folder of the files that were written.
    pub(super) folder: &'g Path,
}

impl Guide<'_> {
    /// The text, the playground's address first.
    pub(super) fn text(&self) -> String {
        let Self {
            broker,
            management,
            emulator,
            ..
        } = self;
        let file = |name: &str| self.folder.join(name).display().to_string();
        let trust = self
            .ca
            .map_or_else(String::new, |ca| format!(" --cacert {}", ca.display()));
        // What the user's token is for: ACS, the broker's own API, or ACS's API for Teams.
        let body = match self.mode {
            Mode::Passthrough => "",
            Mode::OnBehalfOf | Mode::Identity => " -H 'Content-Type: application/json' -d '{\"audience\":\"api\"}'",
            Mode::TeamsUser => " -H 'Content-Type: application/json' -d '{\"audience\":\"teams\"}'",
        };
        let token = |user: &str| {
            format!(
                "  TOKEN=$(curl -s{trust} -X POST {emulator}/_emulator/users/{user}/token{body} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
            )
        };
        let call = format!("  curl -i{trust} -X POST {broker}/token -H \"Authorization: Bearer $TOKEN\"");
        let mut text = String::new();
        let mut line = |line: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        };
        line(&format!("playground   {emulator}/"));
        line(&format!("broker       {broker}"));
        line(&format!("management   http://{management}"));
        line(&format!(
            "emulator     {emulator}   (Entra and ACS; users: {emulator}/_emulator/users)"
        ));
        line(&format!(
            "assignments  {}   (edit it: it is read again)",
            file(super::configuration::ASSIGNMENT_FILE)
        ));
        if let Some(ca) = self.ca {
            line(&format!("CA file      {}", ca.display()));
        }
        line(&format!("configured   {}", file("broker.toml")));
        line("\nTry it:");
        line("  # adele of Fabrikam, covered by a group, signs in ...");
        line(&token("adele"));
        line("  # ... and gets a token for Azure Communication Services");
        line(&call);
        line("  # once more: `x-cache: hit`");
        line(&call);
        line("  # megan of Fabrikam is not assigned: 403");
        line(&token("megan"));
        line(&call);
        line("\nStop with Ctrl-C.");
        text
    }
}
