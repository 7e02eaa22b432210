//! Failures of DNS, TCP, TLS and proxies in words, with what to do about each.

use azure::SendError;
use config::UpstreamConfig;
use url::Url;

/// What went wrong on the way to `url`, and what to do.
#[must_use]
pub fn in_words(error: &SendError, url: &Url, upstream: &UpstreamConfig) -> (String, String) {
    let host = url.host_str().unwrap_or_default();
    let cause = match error {
        SendError::Timeout => {
            return (
                format!("{host} did not answer in time"),
                format!(
                    "let this machine reach {host}:{} (firewall, route{})",
                    url.port_or_known_default().unwrap_or(443),
                    if has_proxy(upstream) {
                        ", the proxy"
                    } else {
                        ", or a proxy in upstream.proxy"
                    }
                ),
            );
        }
        SendError::TooLarge(_) => {
            return (
                format!("{host} sent more than upstream.max_response_bytes"),
                "check that the address is right; raise upstream.max_response_bytes if it is".to_owned(),
            );
        }
        SendError::NotConnected(cause) | SendError::Connection(cause) => cause,
    };
    let lower = cause.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["proxy authentication", "407"]) {
        (
            "the proxy wants a user name and password".to_owned(),
            "put them into upstream.proxy or HTTPS_PROXY: http://user:password@proxy:port".to_owned(),
        )
    } else if has(&["tunnel", "proxy"]) {
        (
            format!("the proxy did not let the connection to {host} through ({cause})"),
            format!("allow {host} at the proxy, or list it in upstream.no_proxy"),
        )
    } else if has(&[
        "unknownissuer",
        "unknown issuer",
        "self-signed",
        "selfsigned",
        "caused by unknown",
    ]) {
        (
            format!("the certificate of {host} is signed by an authority that this machine does not trust"),
            "if a proxy inspects TLS, put its CA certificate into upstream.ca_file".to_owned(),
        )
    } else if has(&["expired", "notvalidyet", "not valid yet"]) && has(&["certificate"]) {
        (
            format!("the certificate of {host} is not valid at this time"),
            "check this machine's clock first, then the certificate".to_owned(),
        )
    } else if has(&["notvalidforname", "not valid for name"]) {
        (
            format!("the certificate that answered is not for {host}"),
            format!("check the address, and that DNS leads to the real {host}"),
        )
    } else if has(&["certificate", "tls", "handshake", "corrupt message"]) {
        (
            format!("no TLS connection to {host} came about ({cause})"),
            "check that the port speaks TLS, and what stands between".to_owned(),
        )
    } else if has(&["dns", "lookup", "resolve", "name or service not known", "nodename"]) {
        (
            format!("the name {host} cannot be resolved"),
            format!("check the spelling of {host}, and this machine's DNS"),
        )
    } else if has(&["refused"]) {
        (
            format!("{host} refused the connection"),
            format!("check the port of {url}, and what listens there"),
        )
    } else {
        (
            format!("no connection to {host} ({cause})"),
            format!("let this machine reach {host} (firewall, route, proxy)"),
        )
    }
}

fn has_proxy(upstream: &UpstreamConfig) -> bool {
    upstream.proxy.is_some() || upstream.environment_proxy.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::NoProxy;

    #[test]
    fn each_failure_has_words_of_its_own() {
        let upstream = UpstreamConfig {
            ca_file: None,
            proxy: None,
            environment_proxy: None,
            no_proxy: NoProxy::default(),
            max_response_bytes: 1,
            breaker: None,
        };
        let url: Url = "https://login.example".parse().unwrap();
        for (cause, expected) in [
            ("dns error: failed to lookup address information", "cannot be resolved"),
            (
                "tcp connect error: Connection refused (os error 111)",
                "refused the connection",
            ),
            ("invalid peer certificate: UnknownIssuer", "does not trust"),
            (
                "invalid peer certificate: certificate expired: verification time",
                "not valid at this time",
            ),
            (
                "invalid peer certificate: certificate not valid for name \"a\"",
                "is not for login.example",
            ),
            (
                "received corrupt message of type InvalidContentType",
                "no TLS connection",
            ),
            ("tunnel error: unsuccessful", "did not let the connection"),
            ("proxy authorization required: 407", "user name and password"),
            ("something else", "no connection to login.example (something else)"),
        ] {
            let (summary, fix) = in_words(&SendError::Connection(cause.to_owned()), &url, &upstream);
            assert!(summary.contains(expected), "{cause}: {summary}");
            assert!(!fix.is_empty());
        }
        assert!(in_words(&SendError::Timeout, &url, &upstream).0.contains("in time"));
    }
}
