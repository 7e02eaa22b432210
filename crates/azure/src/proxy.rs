//! Which calls go by a proxy.

use std::net::IpAddr;

use url::{Host, Url};

use config::{UpstreamConfig, units};

/// The proxy that a call to `target` goes by, if one does.
///
/// `upstream.proxy` is for all calls, the standard variable's for https alone. What `upstream.no_proxy` and `NO_PROXY`
/// name goes by neither, nor does what stays on this machine or its link.
pub(super) fn for_target<'c>(config: &'c UpstreamConfig, target: &Url) -> Option<&'c Url> {
    if is_on_this_link(target) || config.no_proxy.covers(target) {
        return None;
    }
    let environment = config.environment_proxy.as_ref().filter(|_| target.scheme() == "https");
    config.proxy.as_ref().or(environment).map(|proxy| &proxy.0)
}

/// Whether no proxy can reach `url` for this machine: loopback, and link-local addresses, at which platforms serve
/// metadata and managed identities (RFC 3927 section 2.7, RFC 4291 section 2.5.6).
fn is_on_this_link(url: &Url) -> bool {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address).to_canonical()),
        Some(Host::Domain(_)) | None => None,
    };
    let is_near = address.is_some_and(|address| match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    });
    is_near || units::is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{NoProxy, ProxyUrl};

    fn config(proxy: Option<&str>, environment: Option<&str>, no_proxy: &str) -> UpstreamConfig {
        let url = |text: &str| ProxyUrl(text.parse().unwrap());
        UpstreamConfig {
            ca_file: None,
            proxy: proxy.map(url),
            environment_proxy: environment.map(url),
            no_proxy: NoProxy::parse_variable(no_proxy).0,
            max_response_bytes: 1,
            breaker: None,
        }
    }

    #[test]
    fn the_machine_itself_and_its_link_are_not_proxied() {
        for (url, near) in [
            ("http://127.0.0.1:41901/msi/token", true),
            ("http://[::1]/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://169.254.169.254/metadata/identity/oauth2/token", true),
            ("http://169.254.129.3:8081/msi/token", true),
            ("http://[fe80::1]/", true),
            ("http://10.0.0.1/", false),
            ("http://[fd00::1]/", false),
            ("https://login.microsoftonline.com/", false),
        ] {
            assert_eq!(is_on_this_link(&Url::parse(url).unwrap()), near, "{url}");
        }
    }

    #[test]
    fn exceptions_hold_for_either_proxy() {
        let (one, other) = ("http://one.test:3128/", "http://other.test:3128/");
        let acs = "https://contoso.communication.azure.com/";
        for (proxy, environment, no_proxy, target, by) in [
            (None, None, "", acs, None),
            (Some(one), None, "", acs, Some(one)),
            (None, Some(other), "", acs, Some(other)),
            (Some(one), Some(other), "", acs, Some(one)),
            // The standard variable is about https; the setting is about all.
            (None, Some(other), "", "http://contoso.test/", None),
            (Some(one), Some(other), "", "http://contoso.test/", Some(one)),
            (Some(one), None, ".azure.com", acs, None),
            (None, Some(other), "azure.com", acs, None),
            (None, Some(other), "graph.microsoft.com", acs, Some(other)),
            (Some(one), Some(other), "*", acs, None),
            (Some(one), Some(other), "", "https://127.0.0.1:8090/", None),
            (Some(one), Some(other), "", "http://localhost:8090/", None),
        ] {
            let config = config(proxy, environment, no_proxy);
            let target = Url::parse(target).unwrap();
            assert_eq!(for_target(&config, &target).map(Url::as_str), by, "{target} {no_proxy}");
        }
    }
}
