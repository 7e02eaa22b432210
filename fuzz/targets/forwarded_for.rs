//! `X-Forwarded-For`, a field a line; the first byte chooses who is connected. Read from its end, through the trusted proxies.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use acs_token_broker_fuzz::fields;
use broker::limits::address::{client_address, counted};
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&peer, data)) = data.split_first() else {
        return;
    };
    let peers = ["192.0.2.9", "2001:db8:1::5", "::ffff:10.0.0.1", "2001:db8:2::5"];
    let peer: IpAddr = peers
        .get(usize::from(peer))
        .copied()
        .unwrap_or("10.0.0.1")
        .parse()
        .expect("an address");
    let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8:1::/48"]
        .map(|net| net.parse().expect("a network"))
        .into();
    let headers = fields("x-forwarded-for", data);
    let client = client_address(peer, &headers, &trusted);
    assert_eq!(client, expected(peer, &headers, &trusted));
    assert_eq!(client, client.to_canonical());
    assert_eq!(counted(counted(client)), counted(client));
    assert_eq!(counted(client).is_ipv4(), client.is_ipv4());
});

/// The same from the beginning: all hops, then the last one that no trusted proxy vouches away.
fn expected(peer: IpAddr, headers: &http::HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let fields = headers.get_all("x-forwarded-for").iter();
    let fields: Vec<&[u8]> = fields.map(|field| field.as_bytes()).collect();
    let joined = fields.join(&b","[..]);
    let mut hops: Vec<Option<IpAddr>> = Vec::new();
    if !fields.is_empty() {
        hops.extend(
            joined
                .split(|byte| *byte == b',')
                .map(|entry| std::str::from_utf8(entry).ok().and_then(address)),
        );
    }
    hops.push(Some(peer.to_canonical()));
    let is_trusted = |hop: &Option<IpAddr>| hop.is_some_and(|hop| trusted.iter().any(|net| net.contains(&hop)));
    // The trusted hops at the end, and the one before them.
    let first_trusted = hops.iter().rposition(|hop| !is_trusted(hop)).map_or(0, |at| at + 1);
    let before = first_trusted.checked_sub(1).and_then(|at| hops[at]);
    before.or_else(|| hops[first_trusted]).expect("at least the peer")
}

fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim_matches([' ', '\t']);
    let address = if let Ok(with_port) = entry.parse::<SocketAddr>() {
        with_port.ip()
    } else if entry.starts_with('[') {
        IpAddr::V6(entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?)
    } else {
        entry.parse().ok()?
    };
    Some(address.to_canonical())
}
