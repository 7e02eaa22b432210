//! Which names can only be this machine.

/// Whether a host as `Host` and `:authority` name it, with or without a port, can only be this machine: `localhost`,
/// a name below it (RFC 6761 section 6.3), 127.0.0.0/8 or `[::1]`.
///
/// Any other name may have been pointed here by its owner (DNS rebinding), so that their pages pass for ours.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, rest)) = rest.split_once(']') else {
                return false;
            };
            if !address
                .parse::<std::net::Ipv6Addr>()
                .is_ok_and(|address| address.is_loopback())
            {
                return false;
            }
            ("localhost", rest)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |rest: &str| {
        rest.strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if !rest.is_empty() && !is_port(rest) {
        return false;
    }
    let lower = name.to_ascii_lowercase();
    lower == "localhost"
        || lower.ends_with(".localhost")
        || lower
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "a.localhost:1",
            "127.0.0.1:8090",
            "127.9.9.9",
            "[::1]:5",
            "[::1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            ":8080",
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example:80",
            "127.1",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
            "[::1",
            "[127.0.0.1]",
            "::1",
            "[::1].evil.example",
            "localhost:80@evil.example",
            "user@localhost",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
