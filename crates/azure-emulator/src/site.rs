//! Where and when the emulator runs: its origins, its clock, and whose pages may call it.

use std::sync::Arc;

use base::clock::Clock as _;
use base::loopback::is_loopback_host;
use http::Uri;
use http::uri::Scheme;
use jiff::Timestamp;

use super::clock::MovableClock;

/// The emulator's addresses and its time.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) clock: Arc<MovableClock>,
    /// `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    /// `https://localhost:PORT`, if the emulator speaks TLS.
    pub(crate) tls_origin: Option<String>,
    /// Origins beside those on loopback.
    pub(crate) origins: Vec<Origin>,
}

/// Marks a request that came over TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

impl Site {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What issuers begin with. Over TLS that is the https origin: Microsoft's libraries take an issuer only if it has
    /// the origin of the authority that they are given, and they are given no plain http.
    pub(crate) fn issuer_origin(&self) -> &str {
        self.tls_origin.as_deref().unwrap_or(&self.origin)
    }

    /// The origin that this request was sent to: the caller must be able to reach the addresses in an answer.
    pub(crate) fn request_origin(&self, extensions: &http::Extensions) -> &str {
        match &self.tls_origin {
            Some(origin) if extensions.get::<OverTls>().is_some() => origin,
            _ => &self.origin,
        }
    }

    /// Whether a host, as `Host` and `:authority` name it, is this machine or one of the added origins'.
    pub(crate) fn is_own_host(&self, host: &str) -> bool {
        is_loopback_host(host)
            || self.origins.iter().any(|origin| {
                let (name, port) = split_port(host);
                origin.host.eq_ignore_ascii_case(name) && port.is_none_or(|port| port.parse::<u16>().is_ok())
            })
    }

    /// Whether pages of an origin may call: those on this machine, and those of the added origins.
    pub(crate) fn is_friendly(&self, origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| self.admits(&origin))
    }

    /// The origin of a redirect URI that a user may be sent back to: any on loopback (RFC 8252 7.3), and what was added.
    /// A fragment is not for a redirect URI (RFC 6749 3.1.2).
    pub(crate) fn redirect_origin(&self, uri: &str) -> Option<Origin> {
        let safe = !uri.contains(['#', '\\']) && uri.bytes().all(|byte| byte.is_ascii_graphic());
        let parsed: Uri = safe.then(|| uri.parse().ok()).flatten()?;
        let origin = Origin::of(&parsed)?;
        self.admits(&origin).then_some(origin)
    }

    fn admits(&self, origin: &Origin) -> bool {
        is_loopback_host(&origin.host) || self.origins.contains(origin)
    }
}

/// A web origin (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads an origin as browsers write it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let origin = Self::of(&uri)?;
        // A path, if only a slash, is no part of an origin, but `http` adds one in reading.
        (uri.path() == "/" && uri.query().is_none() && !text.ends_with('/')).then_some(origin)
    }

    fn of(uri: &Uri) -> Option<Self> {
        let (scheme, usual) = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTP => ("http", 80),
            scheme if *scheme == Scheme::HTTPS => ("https", 443),
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let (_, port) = split_port(authority.as_str());
        Some(Self {
            scheme,
            host: authority.host().to_ascii_lowercase(),
            port: match port {
                Some(port) => port.parse().ok()?,
                None => usual,
            },
        })
    }

    /// As a source expression of a Content-Security-Policy. That has no form for IPv6 addresses, so that the scheme
    /// stands for them.
    pub(crate) fn as_csp_source(&self) -> String {
        if self.host.starts_with('[') {
            format!("{}:", self.scheme)
        } else {
            format!("{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

/// Host and port of an authority. An IPv6 address keeps its brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use base::clock::SystemClock;

    use super::*;

    fn site() -> Site {
        Site {
            clock: Arc::new(MovableClock::over(SystemClock::shared())),
            origin: String::new(),
            tls_origin: None,
            origins: vec![Origin::parse("https://app.contoso.com").unwrap()],
        }
    }

    #[test]
    fn pages_on_this_machine_and_added_origins_are_friendly() {
        let site = site();
        for origin in [
            "http://localhost:3000",
            "https://localhost",
            "http://a.localhost:1",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "https://app.contoso.com",
            "https://app.contoso.com:443",
        ] {
            assert!(site.is_friendly(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "file://localhost",
            "http://localhost:3000/",
            "https://localhost.evil.example",
            "http://app.contoso.com",
            "https://app.contoso.com:8443",
            "https://evil.example",
            "http://localhost@evil.example",
        ] {
            assert!(!site.is_friendly(origin), "{origin}");
        }
        for host in ["localhost:8090", "[::1]", "app.contoso.com", "APP.contoso.com:8090"] {
            assert!(site.is_own_host(host), "{host}");
        }
        for host in ["evil.example", "app.contoso.com.evil.example", "x@app.contoso.com", ""] {
            assert!(!site.is_own_host(host), "{host}");
        }
    }

    #[test]
    fn users_are_sent_back_to_this_machine_only() {
        let site = site();
        for (uri, source) in [
            ("http://localhost:3000/auth?x=1", "http://localhost:3000"),
            ("https://127.0.0.1", "https://127.0.0.1:443"),
            ("http://[::1]:5/", "http:"),
            ("https://app.contoso.com/auth", "https://app.contoso.com:443"),
        ] {
            let origin = site.redirect_origin(uri).unwrap();
            assert_eq!(origin.as_csp_source(), source);
        }
        for uri in [
            "https://evil.example/",
            "http://localhost.evil.example/",
            "http://localhost:3000/#fragment",
            "http://localhost\\@evil.example/",
            "http://localhost@evil.example/",
            "http://user@localhost/",
            "javascript:alert(1)",
            "urn:ietf:wg:oauth:2.0:oob",
            "/relative",
            "http://local host/",
        ] {
            assert!(site.redirect_origin(uri).is_none(), "{uri}");
        }
    }
}
