//! Browser origins, as they are written in settings.

use super::invisible;
use super::units::{Reason, has_blanks, web_url};

/// What browsers send in `Origin` for a page that has no origin of its own (RFC 6454 section 7.1).
pub(super) const OPAQUE_ORIGIN: &str = "null";

/// Schemes that look like an origin's and never are one: pages of theirs have none, or there are no pages.
const NO_ORIGIN: [&str; 9] = [
    "about",
    "blob",
    "data",
    "file",
    "filesystem",
    "ftp",
    "javascript",
    "ws",
    "wss",
];

/// Reads a browser origin and returns it as browsers send it in `Origin` (RFC 6454 section 6.2). App shells have schemes of
/// their own (`capacitor://localhost`, `ionic://localhost`, `tauri://localhost`, `app://…`).
///
/// A default port is refused rather than dropped: an origin with one never matches, so the operator who wrote it
/// believes something that is not so.
pub(super) fn browser_origin(text: &str) -> Result<String, Reason> {
    let wanted = |what: &str| format!("{what}; an origin is scheme://host or scheme://host:port");
    if text == OPAQUE_ORIGIN {
        return Ok(text.to_owned());
    }
    if text.contains('*') {
        return Err(wanted("wildcards are not supported"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wanted("is not an origin"));
    };
    if rest.contains(['/', '\\', '?', '#']) {
        return Err(wanted("has a path, a query or a trailing slash"));
    }
    if let Some(name) = invisible::found(text) {
        return Err(wanted(&format!("is not an origin: it holds {name}")));
    }
    if rest.contains('@') || has_blanks(text) {
        return Err(wanted("is not an origin"));
    }
    let lower = scheme.to_ascii_lowercase();
    if !matches!(&*lower, "http" | "https") {
        return shell_origin(&lower, rest).map_err(wanted);
    }
    let url = web_url(text).ok_or_else(|| wanted("is not an http or https origin"))?;
    match port_text(rest) {
        Some("") => return Err(wanted("ends in a colon")),
        Some(_) if url.port().is_none() => {
            return Err(format!("names the default port of {lower}, which browsers never send"));
        }
        Some(_) if url.port() == Some(0) => return Err(wanted("names port 0")),
        _ => {}
    }
    Ok(url.origin().ascii_serialization())
}

/// The origin of an app shell. Its engine sends it as the shell registered it: only the scheme has one way of writing.
fn shell_origin(scheme: &str, host: &str) -> Result<String, &'static str> {
    if NO_ORIGIN.contains(&scheme) {
        return Err(match scheme {
            "file" => "is no origin: browsers send \"null\" for pages from files",
            _ => "is not an http or https origin, nor an app shell's",
        });
    }
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    // A slip that would never match anything.
    let is_slip = ["http", "https"]
        .iter()
        .any(|web| strsim::levenshtein(scheme, web) == 1);
    if !is_scheme || is_slip {
        return Err("is not an http or https origin, nor an app shell's");
    }
    let (name, port) = host
        .split_once(':')
        .map_or((host, None), |(name, port)| (name, Some(port)));
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let is_port = port.is_none_or(|port| {
        port.parse::<u16>()
            .is_ok_and(|number| number != 0 && number.to_string() == port)
    });
    if is_name && is_port {
        Ok(format!("{scheme}://{host}"))
    } else {
        Err("has no host such as localhost")
    }
}

/// The text behind the host's colon, if there is one; the colons of an IPv6 address stand in brackets.
fn port_text(authority: &str) -> Option<&str> {
    let host_end = authority.rfind(']').unwrap_or(0);
    authority[host_end..].split_once(':').map(|(_, port)| port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn browser_origins() {
        for (text, sent) in [
            ("https://app.contoso.com", "https://app.contoso.com"),
            ("https://App.Contoso.com", "https://app.contoso.com"),
            ("HTTPS://app.contoso.com", "https://app.contoso.com"),
            ("https://app.contoso.com:8443", "https://app.contoso.com:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("http://app.contoso.com:443", "http://app.contoso.com:443"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("Capacitor://localhost", "capacitor://localhost"),
            ("ionic://localhost", "ionic://localhost"),
            ("tauri://localhost", "tauri://localhost"),
            ("http://tauri.localhost", "http://tauri.localhost"),
            ("https://tauri.localhost", "https://tauri.localhost"),
            ("app://.", "app://."),
            ("app://-", "app://-"),
            ("app://bundle", "app://bundle"),
            ("app://obsidian.md", "app://obsidian.md"),
            ("com.contoso.app://localhost:8080", "com.contoso.app://localhost:8080"),
            (
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            ),
            ("ms-appx-web://contoso", "ms-appx-web://contoso"),
            ("null", "null"),
        ] {
            assert_eq!(browser_origin(text).as_deref(), Ok(sent), "{text}");
        }
        for (text, part) in [
            ("*", "wildcards"),
            ("https://*.contoso.com", "wildcards"),
            ("https://app.contoso.com/", "trailing slash"),
            ("https://app.contoso.com/sign-in", "path"),
            ("https://app.contoso.com?x", "query"),
            ("https://app.contoso.com:443", "default port of https"),
            ("http://app.contoso.com:80", "default port of http"),
            ("https://[::1]:443", "default port of https"),
            ("https://app.contoso.com:", "colon"),
            ("https://app.contoso.com:0", "port 0"),
            ("https://app.contoso.com:99999", "http or https origin"),
            ("app.contoso.com", "not an origin"),
            ("NULL", "not an origin"),
            ("null/", "not an origin"),
            ("", "not an origin"),
            ("https://", "http or https origin"),
            ("https:app.contoso.com", "not an origin"),
            ("https://user@app.contoso.com", "not an origin"),
            (" https://app.contoso.com", "not an origin"),
            ("https://app.contoso.com\n", "not an origin"),
            ("ftp://app.contoso.com", "http or https origin"),
            ("wss://app.contoso.com", "http or https origin"),
            ("htps://app.contoso.com", "http or https origin"),
            ("httpss://app.contoso.com", "http or https origin"),
            ("file://", "\"null\""),
            ("file://localhost", "\"null\""),
            ("FILE:///", "slash"),
            ("data://x", "http or https origin"),
            ("capacitor://", "host"),
            ("capacitor://localhost/", "trailing slash"),
            ("capacitor://*", "wildcards"),
            ("capacitor://localhost:0", "host"),
            ("capacitor://localhost:080", "host"),
            ("capacitor://local host", "not an origin"),
            ("capacitor://localhost\n", "not an origin"),
            ("capacitor:localhost", "not an origin"),
            ("://localhost", "http or https origin"),
            ("1app://localhost", "http or https origin"),
            ("app_shell://localhost", "http or https origin"),
            ("app://a@b", "not an origin"),
            ("app://a,b", "host"),
        ] {
            let reason = browser_origin(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }

    proptest! {
        /// What is taken can be compared with a header's bytes.
        #[test]
        fn an_origin_is_visible_ascii(text in "([a-z]{0,6}://)?[ -~é]{0,20}") {
            if let Ok(origin) = browser_origin(&text) {
                prop_assert!(origin.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = browser_origin(&text);
        }
    }
}
