//! The budget under random interleavings, against what it promises: never more than so many requests in any window, places in the
//! order of arrival, none lost, nobody left waiting for a free one.
//!
//! Neither loom nor shuttle runs this code: places are handed over by tokio's `oneshot` and `Notify`, and the queue keeps
//! tokio's time. So a seeded generator decides who does what next, on tokio's runtime of one thread with its time paused;
//! what several threads do to each other is tried on several threads.

use super::*;
use base::clock::{Clock as _, ManualClock};

type Waiting = oneshot::Receiver<Result<Place, Withheld>>;

const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A request that was sent: from when, and until when if it has ended.
#[derive(Clone, Copy)]
struct Sent {
    start: Duration,
    end: Option<Duration>,
}

impl Sent {
    /// Whether the service may have met it in the window that ends at `now`, wherever on its way it was met.
    fn is_in_window(&self, now: Duration, length: Duration) -> bool {
        self.end.is_none_or(|end| end + length > now)
    }
}

struct Model {
    random: fastrand::Rng,
    settings: BudgetSettings,
    budget: Arc<Budget>,
    clock: Arc<ManualClock>,
    // In the order of arrival.
    waiting: Vec<Waiting>,
    // Each with its number among those sent, if it was sent.
    under_way: Vec<(Place, Option<usize>)>,
    sent: Vec<Sent>,
    // The budget after the last pause, and from when it grows.
    halved: Option<(f64, Duration)>,
    paused_until: Duration,
    granted: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = BudgetSettings {
            rate: Rate {
                count: random.u32(1..8),
                window: milliseconds(random.u64(1..40) * 50),
            },
            queue: random.usize(1..12),
            renewal_share: random.f64(),
        };
        let clock = ManualClock::at("2026-11-30T12:00:00Z".parse().unwrap());
        Self {
            budget: Budget::new(settings, Arc::clone(&clock) as SharedClock),
            random,
            settings,
            clock,
            waiting: Vec::new(),
            under_way: Vec::new(),
            sent: Vec::new(),
            halved: None,
            paused_until: Duration::ZERO,
            granted: 0,
        }
    }

    /// The budget in force, by the words of docs/limits.md.
    fn in_force(&self) -> f64 {
        let whole = f64::from(self.settings.rate.count);
        let Some((halved, from)) = self.halved else {
            return whole;
        };
        let windows = self.clock.monotonic().saturating_sub(from).as_millis() / self.settings.rate.window.as_millis();
        let windows = f64::from(u32::try_from(windows.min(10)).unwrap());
        whole.min(halved + windows * whole / 10.0)
    }

    fn grant(&mut self, place: Place) {
        self.granted += 1;
        let now = self.clock.monotonic();
        let unsent = self.under_way.iter().filter(|(_, sent)| sent.is_none()).count();
        let counted = self
            .sent
            .iter()
            .filter(|sent| sent.is_in_window(now, self.settings.rate.window));
        let used = u32::try_from(counted.count() + unsent + 1).unwrap();
        assert!(
            f64::from(used) <= self.in_force() + 1e-6,
            "{used} of {}",
            self.in_force()
        );
        let is_sent = self.random.u8(0..10) > 0;
        let number = is_sent.then(|| {
            self.sent.push(Sent { start: now, end: None });
            self.sent.len() - 1
        });
        self.under_way.push((place, number));
    }

    /// Takes in what those who wait were given.
    fn collect(&mut self) {
        let mut someone_waits = false;
        for mut waiting in std::mem::take(&mut self.waiting) {
            match waiting.try_recv() {
                Ok(Ok(place)) => {
                    assert!(!someone_waits, "a later caller goes before an earlier one");
                    self.grant(place);
                }
                Ok(Err(withheld)) => {
                    assert!(matches!(withheld, Withheld::Paused(_)) && !someone_waits);
                }
                Err(oneshot::error::TryRecvError::Empty) => {
                    someone_waits = true;
                    self.waiting.push(waiting);
                }
                Err(oneshot::error::TryRecvError::Closed) => panic!("a caller is forgotten"),
            }
        }
    }

    fn end_one(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let at = self.random.usize(..self.under_way.len());
        let (mut place, number) = self.under_way.swap_remove(at);
        place.set_sent(number.is_some());
        if let Some(number) = number {
            self.sent[number].end = Some(self.clock.monotonic());
        }
    }

    fn arrive(&mut self) {
        let deadline = Instant::now() + milliseconds(self.random.u64(500..20_000));
        match self.budget.acquire(deadline) {
            Ok(Turn::Now(place)) => {
                assert!(self.waiting.is_empty(), "a newcomer goes before those who wait");
                self.grant(place);
            }
            Ok(Turn::Later(waiting)) => {
                assert!(self.waiting.len() < self.settings.queue);
                self.waiting.push(waiting);
            }
            Err(NoPlace::QueueFull(wait)) => {
                assert!(self.waiting.len() >= self.settings.queue);
                assert!((SHORTEST_WAIT..=LONGEST_WAIT).contains(&wait));
            }
            Err(NoPlace::TooLate(wait)) => assert!((SHORTEST_WAIT..=LONGEST_WAIT).contains(&wait)),
            Err(NoPlace::Withheld(withheld)) => panic!("{withheld}"),
        }
    }

    fn pause(&mut self) {
        let now = self.clock.monotonic();
        let until = now + milliseconds(self.random.u64(0..3_000));
        let is_new = now >= self.paused_until;
        self.halved = match self.halved {
            Some((halved, from)) if !is_new => Some((halved, from.max(until))),
            _ => {
                let least = f64::from(self.settings.rate.count) / 10.0;
                Some(((self.in_force() / 2.0).max(least), until))
            }
        };
        self.paused_until = self.paused_until.max(until);
        self.budget.pause(is_new, until);
    }

    async fn step(&mut self) {
        match self.random.u8(0..100) {
            0..30 => self.arrive(),
            30..38 => {
                if !self.waiting.is_empty() {
                    let at = self.random.usize(..self.waiting.len());
                    drop(self.waiting.remove(at));
                }
            }
            38..46 => self.take_at_once(Budget::try_acquire),
            46..54 => self.take_at_once(Budget::try_acquire_for_renewal),
            54..74 => self.end_one(),
            74..75 => self.pause(),
            _ => {
                let by = milliseconds(self.random.u64(0..400));
                self.advance(by).await;
            }
        }
        // Who is given a place may notice at once or later.
        if self.random.bool() {
            tokio::task::yield_now().await;
        }
        self.collect();
    }

    fn take_at_once(&mut self, take: impl Fn(&Arc<Budget>) -> Option<Place>) {
        if let Some(place) = take(&self.budget) {
            assert!(
                self.waiting.is_empty(),
                "a retry or a renewal goes before those who wait"
            );
            self.grant(place);
        }
    }

    async fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        tokio::time::advance(by).await;
        // The queue's timer counts in whole milliseconds, and may be one late.
        tokio::time::advance(milliseconds(1)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.collect();
        let status = self.budget.status();
        assert_eq!(status.waiting, self.waiting.len() as u64);
        assert!(
            status.waiting == 0 || status.free == 0,
            "a place is free, and somebody waits: {status:?}"
        );
        assert!(
            (status.limit - self.in_force()).abs() < 1e-6,
            "{status:?}, not {}",
            self.in_force()
        );
    }

    /// Lets all who still wait have their turn.
    async fn finish(&mut self) {
        let window = self.settings.rate.window;
        // While a pause lasts, and for up to ten windows behind it, the budget may be no whole request.
        let pause = self.paused_until.saturating_sub(self.clock.monotonic());
        self.advance(pause).await;
        for _ in 0..self.waiting.len() + 25 {
            while !self.under_way.is_empty() {
                self.end_one();
            }
            self.advance(window).await;
        }
        assert!(self.waiting.is_empty(), "{} wait in vain", self.waiting.len());
        let (status, count) = (self.budget.status(), self.settings.rate.count);
        assert_eq!((status.free, status.waiting), (u64::from(count), 0), "a place is lost");
    }

    /// The service's view: each request meets it at some time of its way.
    fn no_window_holds_more(&mut self) {
        let mut arrivals = Vec::new();
        for sent in &self.sent {
            let way = sent.end.unwrap().saturating_sub(sent.start);
            arrivals.push(sent.start + way.mul_f64(self.random.f64()));
        }
        arrivals.sort_unstable();
        let count = self.settings.rate.count as usize;
        for (first, next) in arrivals.iter().zip(arrivals.iter().skip(count)) {
            assert!(
                next.saturating_sub(*first) >= self.settings.rate.window,
                "{} in one window",
                count + 1
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn random_interleavings_keep_the_budget_and_the_order() {
    let mut granted = 0;
    for seed in 0..400 {
        // The seed of a failure is the last one printed.
        println!("seed {seed}");
        let mut model = Model::new(seed);
        for _ in 0..250 {
            model.step().await;
        }
        model.finish().await;
        model.no_window_holds_more();
        granted += model.granted;
    }
    assert!(granted > 10_000, "only {granted} places");
}

/// Real threads, where nobody decides who comes first. Each request is recorded from after its place was given to before it is
/// given back, so that what is counted is at most what was there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_keep_the_budget_and_lose_no_place() {
    const COUNT: usize = 5;
    const WINDOW: Duration = milliseconds(5);
    let clock = ManualClock::at("2026-11-30T12:00:00Z".parse().unwrap());
    let settings = BudgetSettings {
        rate: Rate {
            count: 5,
            window: WINDOW,
        },
        queue: 20,
        renewal_share: 0.5,
    };
    let budget = Budget::new(settings, Arc::clone(&clock) as SharedClock);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let callers = (0..12).map(|seed| {
        let (budget, clock, sent) = (Arc::clone(&budget), Arc::clone(&clock), Arc::clone(&sent));
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..150 {
                let place = match random.u8(0..8) {
                    0 => budget.try_acquire(),
                    1 => budget.try_acquire_for_renewal(),
                    // Those who leave do so at any time, also while they are given a place.
                    2 => {
                        if let Ok(Turn::Later(waiting)) = budget.acquire(Instant::now() + Duration::from_secs(60)) {
                            for _ in 0..random.u8(0..4) {
                                tokio::task::yield_now().await;
                            }
                            drop(waiting);
                        }
                        None
                    }
                    _ => match budget.acquire(Instant::now() + Duration::from_secs(60)) {
                        Ok(Turn::Now(place)) => Some(place),
                        Ok(Turn::Later(waiting)) => Some(waiting.await.unwrap().unwrap()),
                        Err(_) => None,
                    },
                };
                let start = clock.monotonic();
                for _ in 0..random.u8(0..4) {
                    tokio::task::yield_now().await;
                }
                if let Some(mut place) = place {
                    place.set_sent(true);
                    sent.lock().unwrap().push((start, clock.monotonic()));
                }
                clock.advance(Duration::from_micros(random.u64(0..300)));
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    // Time goes on while all wait.
    let time = tokio::spawn({
        let clock = Arc::clone(&clock);
        async move {
            loop {
                clock.advance(Duration::from_micros(20));
                tokio::task::yield_now().await;
            }
        }
    });
    for caller in callers {
        caller.await.unwrap();
    }
    time.abort();
    let _ = time.await;
    clock.advance(WINDOW);
    let status = budget.status();
    assert_eq!((status.free, status.waiting), (COUNT as u64, 0), "a place is lost");
    let sent = sent.lock().unwrap();
    assert!(sent.len() > 500, "only {} requests", sent.len());
    for (last, _) in sent.iter() {
        let in_window = sent
            .iter()
            .filter(|(start, end)| start <= last && *end + WINDOW > *last);
        assert!(in_window.count() <= COUNT);
    }
}
