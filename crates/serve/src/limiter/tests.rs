use super::*;

impl ConnectionLimiter {
    /// A permit for a test that needs one.
    pub(crate) fn for_test() -> Arc<ConnectionPermit> {
        let limiter = ConnectionLimiter::new(rules(1), OpenConnections::default());
        limiter.try_take(None).unwrap()
    }
}

fn rules(limit: usize) -> Rules {
    Rules {
        limit,
        by_address: None,
        exempt: Vec::new(),
        eviction: Eviction::Idle,
        memory: Budget::new(1 << 30),
        bytes: 1024,
    }
}

fn limiter(rules: Rules) -> Arc<ConnectionLimiter> {
    ConnectionLimiter::new(rules, OpenConnections::default())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

fn is_evicted(permit: &ConnectionPermit) -> bool {
    permit.state.close.is_cancelled()
}

#[test]
fn addresses_of_one_holder_count_as_one() {
    for (one, other, same) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("2001:db8::1", "2001:db8::ffff:1", true),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ("::1", "127.0.0.1", false),
    ] {
        assert_eq!(
            address_block(address(one)) == address_block(address(other)),
            same,
            "{one} {other}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_gets_no_more_than_its_part() {
    let limiter = limiter(Rules {
        by_address: Some(2),
        exempt: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        ..rules(100)
    });
    let one = address("192.0.2.1");
    let first = limiter.take(one).await.unwrap();
    let _second = limiter.take(address("::ffff:192.0.2.1")).await.unwrap();
    assert!(limiter.take(one).await.is_none());
    assert!(limiter.take(address("192.0.2.2")).await.is_some(), "another");
    drop(first);
    assert!(limiter.take(one).await.is_some(), "one was given back");
    // Proxies bring everybody.
    for proxy in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(limiter.take(address(proxy)).await.unwrap());
        }
    }
    assert_eq!(limiter.open.refused(), 1);
    assert!(
        limiter.state().by_address.len() <= 1,
        "an address without connections is not remembered"
    );
}

#[tokio::test(start_paused = true)]
async fn the_longest_silent_one_goes_first() {
    let limiter = limiter(rules(3));
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(limiter.take(address("192.0.2.1")).await.unwrap());
        pause(200).await;
    }
    // The first was silent for longest until it had a request.
    open[0].set_idle(false, Instant::now());
    pause(200).await;
    open[0].set_idle(true, Instant::now());
    let newcomer = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.take(address("192.0.2.2")).await }
    });
    pause(500).await;
    let wanted: Vec<bool> = open.iter().map(|permit| is_evicted(permit)).collect();
    assert_eq!(wanted, [false, true, false], "one goes for one");
    assert!(!newcomer.is_finished());
    open.remove(1);
    assert!(newcomer.await.unwrap().is_some());
    assert_eq!(limiter.open.evicted(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_at_work_stays() {
    let limiter = limiter(rules(2));
    let (first, second) = (
        limiter.take(address("192.0.2.1")).await.unwrap(),
        limiter.take(address("192.0.2.1")).await.unwrap(),
    );
    first.set_idle(false, Instant::now());
    second.set_idle(false, Instant::now());
    let newcomer = limiter.take(address("192.0.2.2"));
    assert!(tokio::time::timeout(Duration::from_secs(60), newcomer).await.is_err());
    assert!(!is_evicted(&first) && !is_evicted(&second));
}

#[tokio::test(start_paused = true)]
async fn where_all_yield_nobody_stays_for_long() {
    let limiter = limiter(Rules {
        eviction: Eviction::Any,
        ..rules(1)
    });
    let busy = limiter.take(address("192.0.2.1")).await.unwrap();
    busy.set_idle(false, Instant::now());
    let start = Instant::now();
    busy.evicted_by(limiter.take(address("192.0.2.2"))).await;
    assert!(start.elapsed() >= BUSY_GRACE && start.elapsed() < 2 * BUSY_GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_first_request_may_be_on_its_way() {
    let limiter = limiter(rules(1));
    let silent = limiter.take(address("192.0.2.1")).await.unwrap();
    let start = Instant::now();
    silent.evicted_by(limiter.take(address("192.0.2.2"))).await;
    assert!(start.elapsed() >= GRACE && start.elapsed() < 2 * GRACE);
}

#[tokio::test(start_paused = true)]
async fn places_are_kept_free_where_there_are_many() {
    let limiter = limiter(rules(128));
    let mut open = Vec::new();
    for _ in 0..127 {
        let permit = limiter.take(address("192.0.2.1")).await.unwrap();
        permit.set_idle(false, Instant::now());
        permit.set_idle(true, Instant::now());
        open.push(permit);
    }
    assert!(is_evicted(&open[0]), "two are to be free");
}

#[tokio::test(start_paused = true)]
async fn without_memory_there_is_no_place() {
    let limiter = limiter(Rules {
        memory: Budget::new(2048),
        ..rules(100)
    });
    let first = limiter.take(address("192.0.2.1")).await.unwrap();
    first.grow(1024).unwrap();
    assert!(first.grow(1).is_err());
    let newcomer = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.take(address("192.0.2.2")).await }
    });
    pause(500).await;
    assert!(is_evicted(&first) && !newcomer.is_finished());
    drop(first);
    assert!(newcomer.await.unwrap().is_some());
}

impl ConnectionPermit {
    /// Goes as soon as it must for `newcomer`.
    async fn evicted_by(self: Arc<Self>, newcomer: impl Future<Output = Option<Arc<ConnectionPermit>>>) {
        let mut newcomer = std::pin::pin!(newcomer);
        tokio::select! {
            _ = newcomer.as_mut() => panic!("there was no permit"),
            () = self.evicted() => {}
        }
        drop(self);
        assert!(newcomer.await.is_some());
    }
}
