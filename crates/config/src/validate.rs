//! What a setting's value must be beyond its type, and the rules between settings.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::log_filter::log_filter;
use super::origin::OPAQUE_ORIGIN;
use super::section::Section;
use super::units::{self, Reason};
use super::{Addressee, CacheConfig, CorsConfig, EntraConfig, ResourceConfig, ServerConfig};

/// Far more than a machine can hold, and well within what semaphores take.
const LARGEST_COUNT: u64 = 1 << 28;

/// Characters of the shortest `telemetry.user_hash_key`: a shorter one could be found by trying.
pub const SHORTEST_HASH_KEY: usize = 16;

/// The value where `holds`, else the reason.
pub(super) fn require<T>(value: T, holds: bool, reason: &str) -> Result<T, Reason> {
    if holds { Ok(value) } else { Err(reason.to_owned()) }
}

pub(super) fn positive(duration: Duration) -> Result<Duration, Reason> {
    require(duration, !duration.is_zero(), "must be longer than 0s")
}

/// A duration of at most `limit`, which `shown` repeats as it is written in settings.
pub(super) fn at_most(duration: Duration, limit: Duration, shown: &str) -> Result<Duration, Reason> {
    require(duration, duration <= limit, &format!("must be at most {shown}"))
}

pub(super) fn at_least_one(number: u64) -> Result<u64, Reason> {
    require(number, number > 0, "must be at least 1")
}

pub(super) fn count(number: u64) -> Result<usize, Reason> {
    let number = at_least_one(number)?;
    usize::try_from(number)
        .ok()
        .filter(|_| number <= LARGEST_COUNT)
        .ok_or_else(|| format!("must be at most {LARGEST_COUNT}"))
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, Reason> {
    text.parse().map_err(|_| {
        "is not an IP address and a port such as \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\"".to_owned()
    })
}

/// One scope value: in a token, scopes are separated by blanks, so one with a blank could never match.
pub(super) fn scope(text: &str) -> Result<String, Reason> {
    let is_one = !text.is_empty() && !units::has_blanks(text);
    require(text.to_owned(), is_one, "must be one scope, without blanks")
}

pub(super) fn assignment_source(text: &str) -> Result<String, Reason> {
    let reason = "is not a source of assignments; there are \"file\" and \"acs\"";
    require(text.to_owned(), matches!(text, "file" | "acs"), reason)
}

/// The path below which others stand. It is compared as it is written, so it has only characters that are never
/// encoded (RFC 3986 section 2.3), and no segment that clients resolve.
pub(super) fn base_path(text: String) -> Result<String, Reason> {
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    let is_path = text
        .strip_prefix('/')
        .is_some_and(|segments| segments.split('/').all(is_segment));
    let reason = "must be empty, or begin with \"/\" and not end with one, such as \"/broker\"; segments take letters, digits, \
                  \"-\", \".\", \"_\" and \"~\"";
    let holds = text.is_empty() || is_path;
    require(text, holds, reason)
}

/// A check of `doctor` that tells of what is to come, not of a fault: no other may be silenced.
pub(super) fn acknowledged(text: &str) -> Result<String, Reason> {
    let reason = "is not a check that can be acknowledged; there is \"acs.retirement\"";
    require(text.to_owned(), text == "acs.retirement", reason)
}

/// A resource's name stands in logs, and may be asked for as `audience`.
pub(super) fn resource_name(text: &str) -> Result<String, Reason> {
    let is_name = text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    require(
        text.to_owned(),
        is_name,
        "must be at most 63 letters, digits, \"-\" and \"_\"",
    )
}

/// The name that a certificate is checked for.
pub(super) fn host_name(text: &str) -> Result<String, Reason> {
    let is_name = url::Host::parse(text).is_ok_and(|host| host.to_string() == text.to_ascii_lowercase());
    require(
        text.to_ascii_lowercase(),
        is_name,
        "must be a host's name, such as \"cache.contoso.com\"",
    )
}

/// What names in a store begin with. Braces there mark the part by which a cluster places a name.
pub(super) fn store_prefix(text: String) -> Result<String, Reason> {
    let is_prefix = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}');
    require(
        text,
        is_prefix,
        "must be at most 64 visible characters of ASCII, and no braces",
    )
}

/// ACS takes whole minutes from an hour to a day (`expiresInMinutes`).
pub(super) fn identity_lifetime(duration: Duration) -> Result<Duration, Reason> {
    let whole = duration.as_secs().is_multiple_of(60) && duration.subsec_nanos() == 0;
    let holds = whole && (Duration::from_hours(1)..=Duration::from_hours(24)).contains(&duration);
    require(duration, holds, "must be whole minutes, from \"60m\" to \"24h\"")
}

/// An access key as Azure shows it. A whole connection string is a likely slip.
pub(super) fn access_key(text: &str) -> Result<(), Reason> {
    use base64::Engine as _;
    match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(key) if !key.is_empty() => Ok(()),
        _ if text.contains("accesskey=") => {
            Err("is a connection string; take what follows accesskey= alone".to_owned())
        }
        _ => Err("is not an access key (base64)".to_owned()),
    }
}

/// With the key it can be found out which user a hash is of.
pub(super) fn user_hash_key(text: &str) -> Result<(), Reason> {
    let reason = format!("must have {SHORTEST_HASH_KEY} characters at least");
    require((), text.chars().count() >= SHORTEST_HASH_KEY, &reason)
}

pub(super) fn log_level(text: String) -> Result<String, Reason> {
    let is_filter = log_filter(&text).is_ok();
    let reason = "is not a filter such as \"info\" or \"info,acs_token_broker=debug\"";
    require(text, is_filter, reason)
}

/// The format of the assignment file is known by its name alone.
pub(super) fn assignment_file(path: PathBuf) -> Result<PathBuf, Reason> {
    let extension = path.extension().unwrap_or_default();
    let is_known = extension.eq_ignore_ascii_case("toml") || extension.eq_ignore_ascii_case("json");
    require(path, is_known, "must end in .toml or .json")
}

/// A file that must be there when the broker starts. Its path is not repeated: a key may have been pasted in its place.
pub(super) fn readable_file(path: PathBuf) -> Result<PathBuf, Reason> {
    let unreadable = |error: std::io::Error| format!("names a file that cannot be read: {error}");
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err("names a directory, not a file".to_owned());
    }
    // Opening a pipe would wait for its writer.
    if metadata.is_file() {
        File::open(&path).map_err(unreadable)?;
    }
    Ok(path)
}

/// Rules within `[cache]`.
pub(super) fn cache(section: &mut Section<'_, '_>, cache: &CacheConfig) {
    let renewal = &cache.renewal;
    section.rule(
        "cache.min_remaining",
        &["cache.expiry_margin"],
        renewal.min_remaining.is_zero() || renewal.min_remaining >= renewal.expiry_margin,
        "must be 0s (off) or at least cache.expiry_margin",
    );
    section.rule(
        "cache.refresh_ahead",
        &["cache.min_remaining"],
        renewal.refresh_ahead.is_zero() || renewal.refresh_ahead >= renewal.min_remaining,
        "must be 0s (off) or at least cache.min_remaining",
    );
}

/// Rules between the ages of signing keys.
pub(super) fn key_ages(section: &mut Section<'_, '_>, refresh_interval: Duration, max_age: Duration) {
    section.rule(
        "entra.jwks_refresh_interval",
        &["entra.jwks_max_age"],
        refresh_interval < max_age,
        "must be less than entra.jwks_max_age, or keys grow too old between two fetches",
    );
}

/// The plain-http rule for a service that is sent tokens or trusted for keys.
pub(super) fn secure(section: &mut Section<'_, '_>, path: &str, url: &Url, allow_insecure: bool) {
    let is_insecure = units::is_insecure(url);
    section.rule(
        path,
        &["allow_insecure_upstreams"],
        !is_insecure || allow_insecure,
        "must be https; plain http is for loopback addresses only, unless allow_insecure_upstreams = true",
    );
    if is_insecure {
        section.warn(format!(
            "{path}: is used over plain http; anyone on the way can read and change what is sent"
        ));
    }
}

/// Warns where tokens are accepted for an API of which no scope is required: no caller can have such a token.
pub(super) fn scopes_that_count(section: &mut Section<'_, '_>, audiences: &[String], scopes: &[String]) {
    for is_acs in [true, false] {
        let mut audiences = audiences.iter().map(|audience| Addressee::from_audiences(&[audience]));
        let Some(addressee) = audiences.find(|addressee| addressee.is_acs() == is_acs) else {
            continue;
        };
        if !scopes.iter().any(|scope| addressee.has_scope(scope)) {
            let (whose, which) = if is_acs {
                (
                    "ACS",
                    "VoIP, VoIP.Join, Chat.…, TeamsExtension.… and Teams.… count there alone",
                )
            } else {
                (
                    "an API of one's own",
                    "scopes named as ACS names its own do not count there",
                )
            };
            section.warn(format!(
                "entra.required_scopes: names no scope for tokens that are for {whose}, so nobody gets a token with one: {which}"
            ));
        }
    }
}

/// The name of a request header (RFC 9110 section 5.1), in lower case.
pub(super) fn header_name(text: &str) -> Result<String, Reason> {
    if text.contains('*') {
        // To browsers that is every header; here each must be known.
        return Err("wildcards are not supported; name each header".to_owned());
    }
    http::HeaderName::try_from(text)
        .map(|name| name.as_str().to_owned())
        .map_err(|_| "is not the name of a header, such as \"request-id\"".to_owned())
}

/// Warnings about `[server.cors]`.
pub(super) fn cors(section: &mut Section<'_, '_>, cors: &CorsConfig) {
    for (index, origin) in cors.allowed_origins.iter().enumerate() {
        let warning = if origin.starts_with("http:") {
            format!("{origin} is over http; anyone on the way can act as it")
        } else if origin == OPAQUE_ORIGIN {
            "\"null\" is the origin of every page from a file and of every sandboxed frame of any site; all of \
             them can read answers"
                .to_owned()
        } else {
            continue;
        };
        section.warn(format!("server.cors.allowed_origins[{index}]: {warning}"));
    }
}

/// Rules between the listeners.
pub(super) fn listeners(section: &mut Section<'_, '_>, server: SocketAddr, management: SocketAddr) {
    section.rule(
        "management.listen",
        &["server.listen"],
        !overlap(server, management),
        "must not be the address of server.listen",
    );
}

/// Whether both cannot be bound. `0.0.0.0` takes every IPv4 address; `[::]` takes all, as Linux binds it.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |one: SocketAddr, other: SocketAddr| one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

/// Warnings about deadlines that cut each other off.
pub(super) fn deadlines(section: &mut Section<'_, '_>, server: &ServerConfig, resources: &[ResourceConfig]) {
    if server.drain_timeout < server.request_timeout {
        section.warn(
            "server.drain_timeout: is less than server.request_timeout; a shutdown can cut requests off".to_owned(),
        );
    }
    for resource in resources {
        if resource.exchange.timeout > server.request_timeout {
            let key = resource.key("exchange.timeout");
            section.warn(format!(
                "{key}: is more than server.request_timeout, which ends the request before"
            ));
        }
    }
}

/// Warnings about resources that some or all callers can never reach.
pub(super) fn routes(section: &mut Section<'_, '_>, entra: &EntraConfig, resources: &[ResourceConfig]) {
    for (index, resource) in resources.iter().enumerate() {
        for tenant in &resource.tenants {
            if !entra.tenants.iter().any(|listed| listed.id == *tenant) {
                let key = resource.key("tenants");
                section.warn(format!("{key}: {tenant} is not listed under entra.tenants"));
            }
        }
        if let Some(first) = resources[..index].iter().find(|earlier| covers(earlier, resource)) {
            let (key, first) = (resource.key("tenants"), &first.path);
            section.warn(format!(
                "{key}, client_ids: {first} matches everyone that this one does, and comes first"
            ));
        }
    }
}

/// Whether every caller that matches `other` matches `earlier`.
fn covers(earlier: &ResourceConfig, other: &ResourceConfig) -> bool {
    fn holds<T: PartialEq>(earlier: &[T], other: &[T]) -> bool {
        earlier.is_empty() || (!other.is_empty() && other.iter().all(|item| earlier.contains(item)))
    }
    holds(&earlier.tenants, &other.tenants) && holds(&earlier.client_ids, &other.client_ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_overlap_when_both_cannot_be_bound() {
        for (one, other, overlaps) in [
            ("127.0.0.1:8080", "127.0.0.1:8081", false),
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:8080", "127.0.0.2:8080", false),
            ("0.0.0.0:8080", "127.0.0.1:8080", true),
            ("0.0.0.0:8080", "[::1]:8080", false),
            ("[::]:8080", "127.0.0.1:8080", true),
            ("[::]:8080", "[::1]:8080", true),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(
                (overlap(one, other), overlap(other, one)),
                (overlaps, overlaps),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn filters() {
        for text in [
            "info",
            "info,acs_token_broker=debug",
            "off",
            "acs_token_broker[issue]=trace",
        ] {
            assert!(log_level(text.to_owned()).is_ok(), "{text}");
        }
        for text in ["info,=,", "a=b=c", "acs_token_broker=loud"] {
            assert!(log_level(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn header_names() {
        for (text, name) in [
            ("request-id", "request-id"),
            ("Request-Context", "request-context"),
            ("x_custom.1", "x_custom.1"),
            ("authorization", "authorization"),
        ] {
            assert_eq!(header_name(text).as_deref(), Ok(name), "{text}");
        }
        for text in ["", "*", "x-*", "two words", "x:", "x,y", "x\r\ny", "ümlaut", " x"] {
            assert!(header_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn base_paths() {
        for text in ["", "/broker", "/a/b.c/d-e_f~", "/..."] {
            assert_eq!(base_path(text.to_owned()).as_deref(), Ok(text), "{text}");
        }
        for text in [
            "/", "broker", "/broker/", "//broker", "/a//b", "/.", "/a/../b", "/a b", "/%61", "/a?b", "/a#b", "/a:b",
            "/ü",
        ] {
            assert!(base_path(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_have_bounds() {
        assert_eq!(count(1), Ok(1));
        assert_eq!(count(1 << 28), Ok(1 << 28));
        assert!(count(0).is_err());
        assert!(count((1 << 28) + 1).is_err());
    }
}
