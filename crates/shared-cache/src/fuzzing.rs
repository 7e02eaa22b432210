//! What the fuzz targets reach of this crate (`fuzz/`). cargo-fuzz alone compiles it.

use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue as _, RedisError, Value};
use zeroize::Zeroizing;

use crate::failure::{Failure, is_of_server};
use crate::keys::EncryptionKeys;
use crate::permissions::{Refusal, is_refused, lacking};
use crate::settings::Node;
use crate::slots::{self, SlotRange, SlotTable};
use crate::window::Turn;
use crate::{EntryId, StoredValue, WindowStatus, lease, sentinels, window};

/// The host of the server that is asked, and its port.
pub const ASKED: (&str, u16) = ("seed", 7000);

/// A host and a port.
pub type Address = (String, u16);

/// What an entry is called under each key.
#[must_use]
pub fn names(keys: &EncryptionKeys, id: &EntryId) -> Vec<String> {
    let names = keys.entry_names(id).into_iter();
    names.map(|name| name.text().to_owned()).collect()
}

/// Seals a value for an entry, by each key.
pub fn seal<'k>(keys: &'k EncryptionKeys, id: &EntryId, value: &'k StoredValue) -> impl Iterator<Item = Vec<u8>> + 'k {
    let names = keys.entry_names(id).into_iter();
    names.filter_map(|name| keys.seal(&name, value))
}

/// What was found at the name that each key gives the entry, opened.
#[must_use]
pub fn open(keys: &EncryptionKeys, id: &EntryId, found: &[u8]) -> Vec<Option<StoredValue>> {
    let names = keys.entry_names(id).into_iter();
    names.map(|name| keys.open(&name, found).ok()).collect()
}

/// What is sealed of a value.
#[must_use]
pub fn content(value: &StoredValue) -> Zeroizing<Vec<u8>> {
    value.content(0)
}

/// The value that a content is.
#[must_use]
pub fn from_content(content: &[u8]) -> Option<StoredValue> {
    StoredValue::from_content(content)
}

/// The value as a replica may use it, and how long it would be kept.
#[must_use]
pub fn usable(
    value: StoredValue,
    now: Timestamp,
    clock_skew: Duration,
    margin: Duration,
) -> Option<(StoredValue, Option<Duration>)> {
    let usable = value.usable(now, clock_skew)?;
    let lifetime = usable.lifetime(now, margin);
    Some((usable, lifetime))
}

/// What an error of a server means.
pub struct Said {
    /// How it is shown.
    pub failure: String,
    /// Whether a permission is missing.
    pub is_refused: bool,
    /// Which one, if the answer was one to `GET`.
    pub lacking: Option<String>,
    /// Whether the server is of no use to anybody.
    pub is_of_server: bool,
    /// Whether there is no value of ours.
    pub is_wrong_type: bool,
    /// Which server it sends to.
    pub redirect: Option<Address>,
}

/// What an error of a server means.
#[must_use]
pub fn error(error: &RedisError) -> Said {
    let redirect = error.redirect_node();
    let redirect = redirect.and_then(|(address, _)| slots::redirect(address, &asked()));
    Said {
        failure: Failure::of(asked().to_string(), error).to_string(),
        is_refused: is_refused(error),
        lacking: lacking(&[("get", Refusal::of(error))], "prefix:"),
        is_of_server: is_of_server(error),
        is_wrong_type: error.code() == Some("WRONGTYPE"),
        redirect: redirect.map(address),
    }
}

/// A budget's answer: the word that says what came of it, how long to wait, and how full the budget is.
#[must_use]
pub fn budget(answer: &Value) -> Option<(&'static str, Option<Duration>, WindowStatus)> {
    let answer = window::Answer::from_redis_value_ref(answer).ok()?;
    let (turn, status) = window::read(&answer)?;
    let (what, wait) = match turn {
        Turn::Taken => ("taken", None),
        Turn::Full(wait) => ("full", Some(wait)),
        Turn::Paused(wait) => ("paused", Some(wait)),
    };
    Some((what, wait, status))
}

/// A lease's answer: for how long it is another's, if it is.
#[must_use]
pub fn lease(answer: &Value, length: Duration) -> Option<Option<Duration>> {
    let left = i64::from_redis_value_ref(answer).ok()?;
    Some(lease::others(left, length))
}

/// A sentinel's answer: the server that it names, and how that is shown.
#[must_use]
pub fn sentinel(answer: &Value) -> Option<(Address, String)> {
    let named = Option::<sentinels::Address>::from_redis_value_ref(answer).ok()??;
    let node = sentinels::named(named, &asked())?;
    let shown = node.to_string();
    Some((address(node), shown))
}

/// A cluster as one of its servers describes it.
pub struct Cluster {
    /// The first and the last of some slots, and their server.
    pub ranges: Vec<(u16, u16, Address)>,
    /// Whether every slot has a server.
    pub is_covered: bool,
    servers: Vec<Address>,
    table: SlotTable,
}

/// The answer of `CLUSTER SLOTS`.
#[must_use]
pub fn cluster(answer: &Value) -> Option<Cluster> {
    let ranges = slots::read(answer, &asked())?;
    let masters = slots::by_master(ranges.clone());
    let said = |SlotRange { first, last, master }: &SlotRange| (*first, *last, address(master.clone()));
    Some(Cluster {
        ranges: ranges.iter().map(said).collect(),
        is_covered: slots::covers_all(&ranges),
        table: SlotTable::new(masters.values().map(Vec::as_slice)),
        servers: masters.into_keys().map(address).collect(),
    })
}

impl Cluster {
    /// The server that is asked for keys of this slot.
    #[must_use]
    pub fn server(&self, slot: u16) -> Option<&Address> {
        self.servers.get(self.table.server(slot)?)
    }
}

fn asked() -> Node {
    Node {
        host: ASKED.0.to_owned(),
        port: ASKED.1,
        is_tls: true,
    }
}

fn address(node: Node) -> Address {
    assert!(node.is_tls, "whether TLS is used is the configuration's to say");
    (node.host, node.port)
}
