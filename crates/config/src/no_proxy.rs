//! Which hosts are reached without a proxy: `upstream.no_proxy` and `NO_PROXY`.
//!
//! No standard says how `NO_PROXY` is read. Taken is what curl, Go, Python and .NET have in common, and what one of them
//! alone takes where that can mean nothing else. hyper-util's matcher, which reqwest has, knows neither ports nor `*.`.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

use super::units::Reason;

/// How an entry is written.
const FORM: &str =
    "must be a host, .suffix, *.suffix, an address or a network such as 10.0.0.0/8, perhaps with :port, or \"*\"";

/// Hosts that no proxy is used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Exception>);

/// One entry: hosts, and the port if it is about one alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    /// A host and all below it.
    Name(String),
    /// All below it.
    Below(String),
    Network(IpNet),
}

impl NoProxy {
    /// Reads the standard variable: entries apart by commas or blanks. Those that are not understood are named by their
    /// place, from 1, with the reason; they were written for other programs too, which may understand them.
    #[must_use]
    pub fn parse_variable(text: &str) -> (Self, Vec<(usize, Reason)>) {
        let mut read = Self::default();
        let mut misread = Vec::new();
        let entries = text
            .split([',', ' ', '\t', '\r', '\n'])
            .filter(|entry| !entry.is_empty());
        for (index, entry) in entries.enumerate() {
            match exception(entry) {
                Ok(exception) => read.0.push(exception),
                Err(reason) => misread.push((index + 1, reason)),
            }
        }
        (read, misread)
    }

    pub(super) fn extend(&mut self, exceptions: Vec<Exception>) {
        self.0.extend(exceptions);
    }

    /// Whether `url` is reached without a proxy. Names are not resolved: an address covers no name, a name no address.
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        self.0.iter().any(|exception| {
            exception
                .port
                .is_none_or(|port| url.port_or_known_default() == Some(port))
                && exception.hosts.hold(&host)
        })
    }
}

impl Hosts {
    fn hold(&self, host: &Host<&str>) -> bool {
        let address = match host {
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                return match self {
                    Self::All => true,
                    Self::Name(own) => name == own || is_below(name, own),
                    Self::Below(own) => is_below(name, own),
                    Self::Network(_) => false,
                };
            }
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address).to_canonical(),
        };
        match self {
            Self::All => true,
            Self::Name(_) | Self::Below(_) => false,
            Self::Network(network) => network.contains(&address),
        }
    }
}

fn is_below(name: &str, own: &str) -> bool {
    name.strip_suffix(own).is_some_and(|before| before.ends_with('.'))
}

/// Reads one entry.
pub(super) fn exception(text: &str) -> Result<Exception, Reason> {
    let text = text.trim();
    if let Some((address, length)) = text.split_once('/') {
        let network: Option<IpNet> = format!("{}/{length}", unbracketed(address)).parse().ok();
        let hosts = network.map(Hosts::Network).ok_or(FORM)?;
        return Ok(Exception { hosts, port: None });
    }
    let (host, port) = split_port(text)?;
    Ok(Exception {
        hosts: hosts(host)?,
        port,
    })
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), Reason> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    // The colons of an IPv6 address stand in brackets.
    let host_end = text.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = text[host_end..].find(':') else {
        return Ok((text, None));
    };
    let (host, port) = text.split_at(host_end + colon);
    let digits = &port[1..];
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| is_number && *port != 0);
    Ok((host, Some(port.ok_or(FORM)?)))
}

fn hosts(text: &str) -> Result<Hosts, Reason> {
    let name = |text: &str| {
        let text = text.strip_suffix('.').unwrap_or(text);
        match Host::parse(text) {
            // As URLs have it: lower-case, international names in their ASCII form.
            Ok(Host::Domain(name)) if !name.is_empty() && !name.contains('*') && !name.starts_with('.') => Ok(name),
            _ => Err(FORM.to_owned()),
        }
    };
    if text == "*" {
        return Ok(Hosts::All);
    }
    if let Ok(address) = unbracketed(text).parse::<IpAddr>() {
        return Ok(Hosts::Network(address.to_canonical().into()));
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return name(suffix).map(Hosts::Below);
    }
    name(text.strip_prefix('.').unwrap_or(text)).map(Hosts::Name)
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_spellings() {
        let acs = "https://contoso.communication.azure.com/x";
        for (no_proxy, url, covered) in [
            ("", acs, false),
            ("contoso.communication.azure.com", acs, true),
            ("Contoso.Communication.AZURE.com", acs, true),
            ("contoso.communication.azure.com.", acs, true),
            (
                "contoso.communication.azure.com",
                "https://contoso.communication.azure.com./",
                true,
            ),
            // A name covers what is below it, and not what merely ends alike.
            ("azure.com", acs, true),
            ("com", acs, true),
            ("communication.azure.com", "https://xcommunication.azure.com/", false),
            (".azure.com", acs, true),
            (".azure.com", "https://azure.com/", true),
            (".azure.com", "https://notazure.com/", false),
            ("*.azure.com", acs, true),
            ("*.azure.com", "https://azure.com/", false),
            ("*.communication.azure.com:443", acs, true),
            ("*", acs, true),
            ("*", "https://10.0.0.1/", true),
            ("other.test", acs, false),
            // Ports.
            ("contoso.communication.azure.com:443", acs, true),
            ("contoso.communication.azure.com:8443", acs, false),
            (".azure.com:8443", "https://contoso.azure.com:8443/", true),
            ("proxy.test:80", "http://proxy.test/", true),
            ("proxy.test:80", "https://proxy.test/", false),
            // Addresses and networks, of either family.
            ("10.0.0.1", "https://10.0.0.1:8443/", true),
            ("10.0.0.1:8443", "https://10.0.0.1:8443/", true),
            ("10.0.0.1:443", "https://10.0.0.1:8443/", false),
            ("10.0.0.1", "https://10.0.0.10/", false),
            ("10.0.0.0/8", "https://10.200.3.4/", true),
            ("10.1.2.3/8", "https://10.200.3.4/", true),
            ("10.0.0.0/8", "https://11.0.0.1/", false),
            ("0.0.0.0/0", "https://11.0.0.1/", true),
            ("0.0.0.0/0", acs, false),
            ("10.0.0.0/8", "https://[::ffff:10.0.0.1]/", true),
            ("::ffff:10.0.0.1", "https://10.0.0.1/", true),
            ("2001:db8::1", "https://[2001:db8::1]/", true),
            ("[2001:db8::1]", "https://[2001:db8::1]/", true),
            ("2001:DB8:0::1", "https://[2001:db8::1]/", true),
            ("[2001:db8::1]:443", "https://[2001:db8::1]/", true),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]/", false),
            ("2001:db8::/32", "https://[2001:db8:1::1]/", true),
            ("[2001:db8::]/32", "https://[2001:db8:1::1]/", true),
            ("2001:db8::/32", "https://[2001:db9::1]/", false),
            ("2001:db8::/32", "https://10.0.0.1/", false),
            // International names, in either form.
            ("bücher.example", "https://www.bücher.example/", true),
            ("BÜCHER.example", "https://xn--bcher-kva.example/", true),
            ("xn--bcher-kva.example", "https://bücher.example/", true),
            ("under_score.test", "https://under_score.test/", true),
            // Lists, as they are written.
            ("localhost,127.0.0.1,.azure.com", acs, true),
            (" a.test , azure.com ,", acs, true),
            ("a.test azure.com", acs, true),
            (",,", acs, false),
            // What is not understood covers nothing, and takes nothing away from the rest.
            ("http://x,azure.com", acs, true),
            ("*azure.com", acs, false),
        ] {
            let target = Url::parse(url).unwrap();
            assert_eq!(
                NoProxy::parse_variable(no_proxy).0.covers(&target),
                covered,
                "{no_proxy} {url}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_reported_by_its_place() {
        for entry in [
            "https://a.test",
            "10.0.0.0/33",
            "a.test/8",
            "a.test:",
            "a.test:https",
            "a.test:0",
            "a.test:+80",
            "a.test:99999",
            "*azure.com",
            "10.*",
            "a*b.test",
            "*.",
            ".",
            "..a.test",
            "[2001:db8::1",
            "user@a.test",
        ] {
            let (_, misread) = NoProxy::parse_variable(&format!("a.test,{entry},b.test"));
            assert_eq!(misread, [(2, FORM.to_owned())], "{entry}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), host in "[a-z0-9.:*/\\[\\]-]{0,20}") {
            let url = Url::parse("https://contoso.test/").unwrap();
            for text in [text, host] {
                let _ = NoProxy::parse_variable(&text).0.covers(&url);
            }
        }
    }
}
