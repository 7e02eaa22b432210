//! Which server of a cluster holds which keys: slots, the answer of `CLUSTER SLOTS`, and where a key has moved.
//!
//! The rules are the cluster specification's: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.

use std::collections::BTreeMap;

use redis::Value;

use crate::settings::Node;

/// How many slots there are.
pub(crate) const SLOTS: u16 = 16384;

/// Some slots, and the server that takes writes for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) master: Node,
}

/// The slot of a key: that of what stands between the first pair of braces, if anything does.
pub(crate) fn slot(key: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(hash_tag(key).as_bytes()) % SLOTS
}

fn hash_tag(key: &str) -> &str {
    key.split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty())
        .unwrap_or(key)
}

/// A key beginning with `prefix` in one of the slots `first` to `last`.
pub(crate) fn key_in(prefix: &str, first: u16, last: u16) -> Option<String> {
    // Of slots that are met at random each is met within so many attempts, as good as surely.
    (0..u32::from(SLOTS) * 20)
        .map(|number| format!("{prefix}probe:{number}"))
        .find(|key| (first..=last).contains(&slot(key)))
}

/// Reads the answer of `CLUSTER SLOTS`, given by `asked`: for each range its ends, its master and its replicas, each with its
/// host, its port and more. A slot has one master.
pub(crate) fn read(answer: &Value, asked: &Node) -> Option<Vec<SlotRange>> {
    let Value::Array(ranges) = answer else { return None };
    let mut ranges: Vec<_> = ranges
        .iter()
        .map(|range| read_range(range, asked))
        .collect::<Option<_>>()?;
    ranges.sort_unstable_by_key(|range| range.first);
    ranges.is_sorted_by(|one, next| one.last < next.first).then_some(ranges)
}

/// Whether each slot is in one of `ranges`, which [`read`] gave.
pub(crate) fn covers_all(ranges: &[SlotRange]) -> bool {
    // No two have one in common.
    let covered: u16 = ranges.iter().map(|range| range.last - range.first + 1).sum();
    covered == SLOTS
}

/// The servers of a cluster, each with the first and the last slot of its ranges.
pub(crate) fn by_master(ranges: Vec<SlotRange>) -> BTreeMap<Node, Vec<(u16, u16)>> {
    let mut masters: BTreeMap<Node, Vec<(u16, u16)>> = BTreeMap::new();
    for SlotRange { first, last, master } in ranges {
        masters.entry(master).or_default().push((first, last));
    }
    masters
}

/// Which of several servers a slot belongs to.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    // By their first slot: ends, and the place of the server.
    ranges: Vec<(u16, u16, usize)>,
}

impl SlotTable {
    /// The servers in their order, each with the first and the last slot of its ranges.
    pub(crate) fn new<'r>(servers: impl IntoIterator<Item = &'r [(u16, u16)]>) -> Self {
        let ranges = servers.into_iter().enumerate();
        let mut ranges: Vec<_> = ranges
            .flat_map(|(index, ranges)| ranges.iter().map(move |(first, last)| (*first, *last, index)))
            .collect();
        ranges.sort_unstable();
        Self { ranges }
    }

    /// The place of the server that has this slot, if one has it.
    pub(crate) fn server(&self, slot: u16) -> Option<usize> {
        let after = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, index) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(*index)
    }
}

fn read_range(range: &Value, asked: &Node) -> Option<SlotRange> {
    let Value::Array(parts) = range else { return None };
    let [first, last, master, ..] = &parts[..] else {
        return None;
    };
    let Value::Array(master) = master else { return None };
    let [host, port, ..] = &master[..] else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        // It does not know its own name: it is the one that was asked.
        Value::Nil => "",
        _ => return None,
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last < SLOTS).then_some(SlotRange {
        first,
        last,
        master: announced(host, number(port)?, asked),
    })
}

/// Where `MOVED` or `ASK`, said by `asked`, sends: `host:port`.
pub(crate) fn redirect(address: &str, asked: &Node) -> Option<Node> {
    let (host, port) = address.rsplit_once(':')?;
    Some(announced(host, port.parse().ok()?, asked))
}

fn announced(host: &str, port: u16, asked: &Node) -> Node {
    let host = if host.is_empty() || host == "?" {
        &asked.host
    } else {
        host
    };
    Node {
        host: host.to_owned(),
        port,
        is_tls: asked.is_tls,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node {
            host: host.to_owned(),
            port,
            is_tls: true,
        }
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
        assert_ne!(
            slot("foo{}{bar}"),
            slot("bar"),
            "nothing between the first braces: the whole key"
        );
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
        assert_eq!(slot("foo"), 12182, "as CLUSTER KEYSLOT says");
    }

    #[test]
    fn each_range_has_a_key() {
        for (first, last) in [(0, 0), (16383, 16383), (5461, 10922)] {
            let key = key_in("acs-token-broker:", first, last).unwrap();
            assert!((first..=last).contains(&slot(&key)), "{key}");
        }
    }

    #[test]
    fn the_answer_of_a_cluster() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let server = |host, port| Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
        let range =
            |first, last, servers: &[Value]| Value::Array([&[Value::Int(first), Value::Int(last)], servers].concat());
        let asked = node("seed", 7000);
        let answer = Value::Array(vec![
            range(
                0,
                8191,
                &[server(text("10.0.0.1"), 7001), server(text("10.0.0.2"), 7002)],
            ),
            range(8192, 16383, &[server(Value::Nil, 7000)]),
        ]);
        let expected = |first, last, master| SlotRange { first, last, master };
        assert_eq!(
            read(&answer, &asked).unwrap(),
            [
                expected(0, 8191, node("10.0.0.1", 7001)),
                expected(8192, 16383, node("seed", 7000))
            ]
        );
        for nonsense in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(0, 16384, &[server(text("h"), 1)])]),
            Value::Array(vec![range(5, 1, &[server(text("h"), 1)])]),
            Value::Array(vec![range(0, 1, &[])]),
            Value::Array(vec![range(0, 1, &[server(text("h"), 70_000)])]),
            Value::Array(vec![
                range(0, 16383, &[server(text("h"), 1)]),
                range(5, 5, &[server(text("h"), 2)]),
            ]),
        ] {
            assert_eq!(read(&nonsense, &asked), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_cluster_covers_what_its_ranges_do() {
        let range = |first, last, port| SlotRange {
            first,
            last,
            master: node("h", port),
        };
        let ranges = vec![range(0, 99, 2), range(100, 199, 1), range(200, SLOTS - 1, 2)];
        assert!(covers_all(&ranges) && !covers_all(&ranges[1..]) && !covers_all(&[]));
        let masters = by_master(ranges[..2].to_vec());
        let servers: Vec<_> = masters.keys().map(|master| master.port).collect();
        let table = SlotTable::new(masters.values().map(Vec::as_slice));
        let of = |slot| table.server(slot).map(|index| servers[index]);
        assert_eq!([0, 99, 100, 199].map(of), [Some(2), Some(2), Some(1), Some(1)]);
        assert_eq!([200, SLOTS - 1].map(of), [None, None]);
        assert_eq!(by_master(ranges)[&node("h", 2)], [(0, 99), (200, SLOTS - 1)]);
    }

    #[test]
    fn where_a_key_has_moved() {
        let asked = node("seed", 7000);
        assert_eq!(redirect("10.0.0.1:7001", &asked), Some(node("10.0.0.1", 7001)));
        assert_eq!(redirect(":7001", &asked), Some(node("seed", 7001)));
        assert_eq!(redirect("::1:7001", &asked), Some(node("::1", 7001)));
        assert_eq!(redirect("nowhere", &asked), None);
        assert_eq!(redirect("host:0x1", &asked), None);
    }

    /// Whatever a server may answer.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            (-2_i64..20_000).prop_map(Value::Int),
            "[a-z0-9.:?]{0,5}".prop_map(|text| Value::BulkString(text.into_bytes())),
            proptest::collection::vec(any::<u8>(), 0..4).prop_map(Value::BulkString),
            "[a-z?]{0,3}".prop_map(Value::SimpleString),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            proptest::collection::vec(inner, 0..5).prop_map(Value::Array)
        })
    }

    proptest! {
        #[test]
        fn no_answer_gives_slots_that_there_are_not(answer in values()) {
            for range in read(&answer, &node("seed", 7000)).unwrap_or_default() {
                prop_assert!(range.first <= range.last && range.last < SLOTS && !range.master.host.is_empty());
                prop_assert!(range.master.is_tls, "TLS is the seed's to say");
            }
        }

        #[test]
        fn no_redirect_leads_to_nowhere(address in "[a-z0-9.:?\\[\\]]{0,12}") {
            let target = redirect(&address, &node("seed", 7000));
            prop_assert!(target.is_none_or(|target| !target.host.is_empty() && target.is_tls));
        }

        #[test]
        fn every_key_has_a_slot_that_is_that_of_its_tag(prefix in "[a-z:]{0,5}", tag in "[a-z]{1,5}", rest in "[a-z{}:]{0,5}") {
            prop_assert_eq!(slot(&format!("{prefix}{{{tag}}}{rest}")), slot(&tag));
        }
    }
}
