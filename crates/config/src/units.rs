//! Units in which settings are written: durations, byte sizes, networks, base URLs.
//!
//! Every parser answers with the reason in words and never repeats what it was given: a value in the wrong
//! place may be a secret.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use url::{Host, Url};

use super::StoreServer;
use super::invisible;

/// Why a text does not stand for a value, in words for the operator.
pub type Reason = String;

/// No setting means more than a year; beyond that a unit was mistaken.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Units of sizes, in bytes.
const SIZES: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`.
pub fn duration(text: &str) -> Result<Duration, Reason> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    number_with_unit(text, &units)
        .ok_or("is not a duration such as \"500ms\", \"30s\", \"5m\" or \"24h\"")?
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "is longer than 366 days".to_owned())
}

/// Reads a byte size: a whole number, alone or with one of `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`.
pub fn byte_size(text: &str) -> Result<u64, Reason> {
    number_with_unit(text, &SIZES)
        .ok_or("is not a size such as \"64KiB\", \"256MiB\", \"1GiB\" or a number of bytes")?
        // TOML's integers end there, so that every size can be written either way.
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| "is too large a size".to_owned())
}

/// Reads digits and one of `units`, in the unit that is worth 1. `None` in another form, `Some(None)` where it is too much.
#[expect(clippy::option_option, reason = "the two faults have different reasons")]
fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<Option<u64>> {
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let (_, per_unit) = units.iter().find(|(name, _)| *name == unit && !number.is_empty())?;
    Some(
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*per_unit)),
    )
}

/// Reads an address or a network in CIDR notation (RFC 4632), of IPv4 or IPv6. An IPv4-mapped one is the IPv4 one.
pub fn network(text: &str) -> Result<IpNet, Reason> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "must be an address or a network such as 10.0.0.0/8".to_owned())?;
    let mapped = match network {
        IpNet::V6(network) => network
            .addr()
            .to_ipv4_mapped()
            .zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    Ok(mapped
        .and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok())
        .unwrap_or(network)
        .trunc())
}

/// Reads the base URL of a service: scheme, host and perhaps a port, nothing behind it.
pub fn base_url(text: &str) -> Result<Url, Reason> {
    let url = proxy_url(text)?;
    if text.contains('@') {
        return Err("must not hold credentials".to_owned());
    }
    Ok(url)
}

/// As the standard proxy variables are written: `host:port` stands for http.
pub(super) fn environment_proxy_url(text: &str) -> Result<Url, Reason> {
    if text.contains("://") {
        proxy_url(text)
    } else {
        proxy_url(&format!("http://{text}"))
    }
}

/// Reads the URL of a proxy: as [`base_url`], with perhaps a user and a password.
pub fn proxy_url(text: &str) -> Result<Url, Reason> {
    let wanted = |what: &str| format!("{what}; it is written as https://host or https://host:port");
    if let Some(name) = invisible::found(text) {
        return Err(wanted(&format!("is not a URL: it holds {name}")));
    }
    let Some((_, rest)) = text.split_once("://") else {
        return Err(wanted("is not a URL"));
    };
    // The parser forgives blanks and backslashes; a reader of the file should not have to know that.
    if has_blanks(text) || text.contains('\\') {
        return Err(wanted("is not a URL"));
    }
    if text.contains(['?', '#']) {
        return Err(wanted("must not have a query or a fragment"));
    }
    if rest.trim_end_matches('/').len() + 1 < rest.len() || rest.trim_end_matches('/').contains('/') {
        return Err(wanted("must not have a path"));
    }
    let url = web_url(text).ok_or_else(|| wanted("is not an http or https URL"))?;
    if url.port() == Some(0) {
        return Err(wanted("names port 0"));
    }
    Ok(url)
}

/// Where a store is, and whether it is spoken to over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoreUrl {
    /// The server.
    pub(super) server: StoreServer,
    /// Whether the scheme is `rediss`.
    pub(super) tls: bool,
}

/// Where Redis and Valkey listen unless told otherwise.
const STORE_PORT: u16 = 6379;

/// Reads the URL of a Redis or Valkey server: scheme, host and perhaps a port, nothing else.
pub(super) fn store_url(text: &str) -> Result<StoreUrl, Reason> {
    let wanted = |what: &str| format!("{what}; it is written as rediss://host or rediss://host:port");
    if let Some(name) = invisible::found(text) {
        return Err(wanted(&format!("is not a URL: it holds {name}")));
    }
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.contains('@') {
        return Err("must not hold credentials; set username and password_file".to_owned());
    }
    let not_one = || wanted("is not a redis or rediss URL");
    let tls = match text.split_once("://") {
        Some(("redis", _)) => false,
        Some(("rediss", _)) => true,
        _ => return Err(not_one()),
    };
    if has_blanks(text) || text.contains('\\') {
        return Err(not_one());
    }
    let url = Url::parse(text).map_err(|_| not_one())?;
    if !matches!(url.path(), "" | "/") || text.contains(['?', '#']) {
        return Err(wanted("must not have a path, a query or a fragment"));
    }
    if url.port() == Some(0) {
        return Err(wanted("names port 0"));
    }
    // To the URL standard the host of such a scheme is any text; here it is a name or an address.
    let host = url
        .host_str()
        .and_then(|host| Host::parse(host).ok())
        .ok_or_else(not_one)?;
    Ok(StoreUrl {
        server: StoreServer {
            host,
            port: url.port().unwrap_or(STORE_PORT),
        },
        tls,
    })
}

/// Whether calls to `url` stay on this machine: 127.0.0.0/8, `[::1]` or `localhost`.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether tokens sent to `url` could be read on the way.
pub(super) fn is_insecure(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

pub(super) fn has_blanks(text: &str) -> bool {
    text.contains(|c: char| c.is_whitespace() || c.is_control())
}

pub(super) fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks() {
        for (text, wanted) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), wanted, "{text}");
        }
        for text in [
            "",
            "proxy",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/8 ",
            "[::1]",
            "10.0.0.1:80",
            "*",
        ] {
            assert!(network(text).unwrap_err().contains("10.0.0.0/8"), "{text}");
        }
    }

    #[test]
    fn store_urls() {
        for (text, shown, tls, loopback) in [
            ("rediss://cache.contoso.com:6380", "cache.contoso.com:6380", true, false),
            ("rediss://Cache.Contoso.com", "cache.contoso.com:6379", true, false),
            ("redis://127.0.0.1:80", "127.0.0.1:80", false, true),
            ("redis://127.1/", "127.0.0.1:6379", false, true),
            ("redis://localhost", "localhost:6379", false, true),
            ("redis://[::1]:7000", "[::1]:7000", false, true),
            ("redis://10.0.0.1", "10.0.0.1:6379", false, false),
        ] {
            let url = store_url(text).unwrap();
            assert_eq!(
                (url.server.to_string().as_str(), url.tls, url.server.is_loopback()),
                (shown, tls, loopback),
                "{text}"
            );
        }
        for (text, part) in [
            ("", "must not be empty"),
            ("cache.contoso.com:6380", "is not a redis or rediss URL"),
            ("https://cache.contoso.com", "is not a redis or rediss URL"),
            ("REDIS://cache.contoso.com", "is not a redis or rediss URL"),
            ("unix:///run/redis.sock", "is not a redis or rediss URL"),
            ("redis://", "is not a redis or rediss URL"),
            ("redis://a b", "is not a redis or rediss URL"),
            ("redis://a:99999", "is not a redis or rediss URL"),
            ("redis://a:0", "names port 0"),
            ("redis://a/1", "must not have a path"),
            ("redis://a?db=1", "must not have a path"),
            ("rediss://:hunter2@cache.contoso.com", "must not hold credentials"),
            ("rediss://user@cache.contoso.com", "must not hold credentials"),
        ] {
            let reason = store_url(text).unwrap_err();
            assert!(
                reason.starts_with(part) && !reason.contains("hunter2"),
                "{text}: {reason}"
            );
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("0ms", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("8784h", 31_622_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "", "s", "5", "5 s", " 5s", "5s ", "5S", "5d", "-5s", "+5s", "1.5s", "1e3s", "1h30m", "٥s", "5µs",
        ] {
            let reason = duration(text).unwrap_err();
            assert!(
                reason.contains("\"500ms\", \"30s\", \"5m\" or \"24h\""),
                "{text}: {reason}"
            );
        }
        for text in [
            "8785h",
            "99999999999999999999s",
            "18446744073709551615h",
            "31622400001ms",
        ] {
            assert_eq!(duration(text), Err("is longer than 366 days".to_owned()), "{text}");
        }
    }

    #[test]
    fn byte_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("17B", 17),
            ("64KiB", 64 << 10),
            ("256MiB", 256 << 20),
            ("1GiB", 1 << 30),
            ("1kB", 1_000),
            ("1MB", 1_000_000),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(byte_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1 MiB", "1mib", "1M", "-1", "1.5MiB", "1MiB ", "0x10"] {
            assert!(byte_size(text).unwrap_err().contains("is not a size"), "{text}");
        }
        for text in ["9223372036854775808", "17179869184GiB", "99999999999999999999"] {
            assert_eq!(byte_size(text), Err("is too large a size".to_owned()), "{text}");
        }
    }

    #[test]
    fn base_urls() {
        for (text, url) in [
            (
                "https://contoso.communication.azure.com",
                "https://contoso.communication.azure.com/",
            ),
            (
                "https://contoso.communication.azure.com/",
                "https://contoso.communication.azure.com/",
            ),
            (
                "https://Contoso.communication.azure.com:443",
                "https://contoso.communication.azure.com/",
            ),
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090/"),
            ("http://[::1]:8090/", "http://[::1]:8090/"),
        ] {
            assert_eq!(base_url(text).map(String::from).as_deref(), Ok(url), "{text}");
        }
        for (text, part) in [
            ("", "not a URL"),
            ("contoso.communication.azure.com", "not a URL"),
            ("https:contoso.com", "not a URL"),
            ("https://contoso.com\\x", "not a URL"),
            ("https://contoso .com", "not a URL"),
            ("https://contoso.com\t", "not a URL"),
            ("https://", "http or https"),
            ("https:///contoso.com", "path"),
            ("https://contoso.com//", "path"),
            ("https://contoso.com/acs", "path"),
            ("https://contoso.com/acs/", "path"),
            ("https://contoso.com?a=b", "query"),
            ("https://contoso.com/#top", "fragment"),
            ("https://contoso.com:0", "port 0"),
            ("https://user:hunter2@contoso.com", "credentials"),
            ("https://@contoso.com", "credentials"),
            ("ftp://contoso.com", "http or https"),
        ] {
            let reason = base_url(text).unwrap_err();
            assert!(reason.contains(part) && !reason.contains("hunter2"), "{text}: {reason}");
        }
    }

    #[test]
    fn proxies_may_have_credentials_and_in_the_environment_no_scheme() {
        assert!(proxy_url("http://user:password@proxy.contoso.com:3128").is_ok());
        assert!(proxy_url("proxy.contoso.com:3128").is_err());
        assert!(proxy_url("socks5://proxy.contoso.com:1080").is_err());
        let url = environment_proxy_url("proxy.contoso.com:3128").map(String::from);
        assert_eq!(url.as_deref(), Ok("http://proxy.contoso.com:3128/"));
    }

    #[test]
    fn plain_http_is_insecure_beyond_loopback() {
        for (text, insecure) in [
            ("https://contoso.com", false),
            ("http://localhost:8090", false),
            ("http://LOCALHOST", false),
            ("http://127.0.0.1", false),
            ("http://127.8.8.8:1", false),
            ("http://[::1]:8090", false),
            ("http://contoso.com", true),
            ("http://10.0.0.1", true),
            ("http://0.0.0.0", true),
            ("http://[::]", true),
            ("http://localhost.contoso.com", true),
            ("http://127.0.0.1.contoso.com", true),
        ] {
            assert_eq!(is_insecure(&base_url(text).unwrap()), insecure, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_whole_duration_reads_back(number in 0_u64..=8784, unit in 0..4_usize) {
            let (unit, per_unit) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)][unit];
            prop_assert_eq!(duration(&format!("{number}{unit}")), Ok(Duration::from_millis(number * per_unit)));
        }

        #[test]
        fn whatever_reads_as_a_duration_is_digits_and_a_unit_within_bounds(text in "[0-9+. -]{0,22}[a-zµ]{0,3}") {
            if let Ok(value) = duration(&text) {
                prop_assert!(value <= LONGEST);
                prop_assert!(text.trim_end_matches(['m', 's', 'h']).bytes().all(|b| b.is_ascii_digit()));
            }
        }

        #[test]
        fn every_size_reads_back_in_bytes(bytes in 0..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(byte_size(&bytes.to_string()), Ok(bytes));
            prop_assert_eq!(byte_size(&format!("{}KiB", bytes >> 10)), Ok(bytes >> 10 << 10));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            let _ = (duration(&text), byte_size(&text));
            let _ = (base_url(&text), environment_proxy_url(&text));
        }
    }
}
