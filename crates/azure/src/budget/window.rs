//! The rule of a budget: never more than so many requests in any window. Times are monotonic and given by the caller.

use std::collections::VecDeque;
use std::time::Duration;

use config::Rate;

/// What an endpoint was sent of late, and what it may be sent.
///
/// A request counts from when it is sent until one window after it has ended: wherever the service's own window begins,
/// and however long the request was on its way, it sees no more than the budget.
#[derive(Debug)]
pub(super) struct Window {
    budget: f64,
    length: Duration,
    // Requests that have not ended.
    in_flight: usize,
    // When others ended, the oldest first.
    ended: VecDeque<Duration>,
    reduced: Option<Reduced>,
}

/// A budget that was halved, and from when it grows again.
#[derive(Debug, Clone, Copy)]
struct Reduced {
    budget: f64,
    from: Duration,
}

impl Window {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            budget: f64::from(rate.count),
            length: rate.window,
            in_flight: 0,
            ended: VecDeque::new(),
            reduced: None,
        }
    }

    /// The budget in force: a part of the configured one for a while after it was halved.
    pub(super) fn in_force(&self, now: Duration) -> f64 {
        let Some(reduced) = self.reduced else {
            return self.budget;
        };
        let whole_windows = now.saturating_sub(reduced.from).as_nanos() / self.length.as_nanos().max(1);
        let grown = whole_windows.min(10) as u32;
        (reduced.budget + f64::from(grown) * self.step()).min(self.budget)
    }

    /// What the budget grows by at the end of each window.
    fn step(&self) -> f64 {
        self.budget / 10.0
    }

    fn places(&self, now: Duration) -> usize {
        places(self.in_force(now))
    }

    /// Requests that count now.
    fn used(&self) -> usize {
        self.in_flight + self.ended.len()
    }

    /// How many more may be sent now.
    pub(super) fn free(&mut self, now: Duration) -> usize {
        self.forget(now);
        self.places(now).saturating_sub(self.used())
    }

    /// Whether fewer count than `share` of the budget in force.
    pub(super) fn is_below(&mut self, share: f64, now: Duration) -> bool {
        self.forget(now);
        self.used() < whole_from(share * self.in_force(now))
    }

    /// One more is about to be sent.
    pub(super) fn take(&mut self) {
        self.in_flight += 1;
    }

    /// One that was taken has ended.
    pub(super) fn end(&mut self, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.ended.push_back(now);
    }

    /// One that was taken was not sent.
    pub(super) fn give_back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The service has limited us, and asks for nothing before `until`: it counts less generously than we do.
    pub(super) fn halve(&mut self, now: Duration, until: Duration) {
        let budget = (self.in_force(now) / 2.0).max(self.step());
        self.reduced = Some(Reduced { budget, from: until });
    }

    /// The same pause goes on until `until`.
    pub(super) fn prolong(&mut self, until: Duration) {
        if let Some(reduced) = &mut self.reduced {
            reduced.from = reduced.from.max(until);
        }
    }

    fn forget(&mut self, now: Duration) {
        while self.ended.front().is_some_and(|ended| *ended + self.length <= now) {
            self.ended.pop_front();
        }
        if self.in_force(now) >= self.budget {
            self.reduced = None;
        }
    }

    /// When the number of free places may next grow without anybody's doing.
    pub(super) fn next_change(&mut self, now: Duration) -> Option<Duration> {
        self.forget(now);
        let release = self.ended.front().map(|ended| *ended + self.length);
        release.into_iter().chain(self.growth(now).next()).min()
    }

    /// The ends of windows at which the budget grows, after `now`.
    fn growth(&self, now: Duration) -> impl Iterator<Item = Duration> {
        let steps = self.reduced.map(|reduced| {
            let length = self.length;
            (1..=10).map(move |step| reduced.from + length * step)
        });
        steps.into_iter().flatten().filter(move |at| *at > now)
    }

    /// When, at the earliest, there is a place for a caller with `ahead` others before them. `None`: not in sight.
    pub(super) fn turn(&mut self, now: Duration, ahead: usize) -> Option<Duration> {
        self.forget(now);
        let mut starts = vec![now];
        starts.extend(self.growth(now));
        for (index, start) in starts.iter().enumerate() {
            let next = starts.get(index + 1);
            let turn = self
                .turn_with(places(self.in_force(*start)), now, ahead)
                .map(|turn| turn.max(*start));
            if let Some(turn) = turn.filter(|turn| next.is_none_or(|next| turn < next)) {
                return Some(turn);
            }
        }
        None
    }

    /// The same if there are `places` throughout. Requests are taken to end at once: the earliest that can be.
    fn turn_with(&self, places: usize, now: Duration, ahead: usize) -> Option<Duration> {
        if places == 0 {
            return None;
        }
        let used = self.used();
        let mut caller = ahead;
        let mut windows = 0;
        loop {
            // So many of those that count must have been forgotten.
            let Some(release) = (caller + used).checked_sub(places) else {
                return Some(now + self.length * windows);
            };
            if let Some(ended) = self.ended.get(release) {
                return Some(*ended + self.length * (windows + 1));
            }
            if release < used {
                return Some(now + self.length * (windows + 1));
            }
            // That place is the one of a caller before this one, a window later.
            caller = release - used;
            windows += 1;
        }
    }
}

/// The least whole number that is not below `number`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a u32 at most, never negative"
)]
fn whole_from(number: f64) -> usize {
    (number - 1e-6).ceil() as usize
}

/// Whole requests. Tenths of a budget do not add up exactly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a u32 at most, never negative"
)]
fn places(budget: f64) -> usize {
    (budget + 1e-6).floor() as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn window(count: u32) -> Window {
        Window::new(Rate {
            count,
            window: seconds(30),
        })
    }

    fn fill(window: &mut Window, count: usize, at: Duration) {
        for _ in 0..count {
            window.take();
            window.end(at);
        }
    }

    #[test]
    fn a_request_counts_until_a_window_after_its_end() {
        let mut window = window(2);
        window.take();
        assert_eq!(window.free(seconds(0)), 1);
        assert_eq!(window.free(seconds(100)), 1, "it is still on its way");
        window.end(seconds(100));
        assert_eq!(window.free(seconds(129)), 1);
        assert_eq!(window.free(seconds(130)), 2);
        window.take();
        window.give_back();
        assert_eq!(window.free(seconds(130)), 2);
    }

    #[test]
    fn a_pause_halves_the_budget_which_grows_back_by_tenths() {
        let mut window = window(100);
        window.halve(seconds(0), seconds(10));
        window.prolong(seconds(20));
        for (now, expected) in [
            (0, 50),
            (20, 50),
            (49, 50),
            (50, 60),
            (80, 70),
            (169, 90),
            (170, 100),
            (999, 100),
        ] {
            assert_eq!(window.free(seconds(now)), expected, "{now}");
        }
        for _ in 0..10 {
            window.halve(seconds(1000), seconds(1000));
        }
        assert_eq!(window.free(seconds(1000)), 10, "never below a tenth");
        assert_eq!(window.free(seconds(1030)), 20);
        let mut small = self::window(1);
        small.halve(seconds(0), seconds(0));
        assert_eq!(small.free(seconds(0)), 0, "places are the floor");
        assert!((small.in_force(seconds(30)) - 0.6).abs() < 1e-9);
        assert_eq!(small.turn(seconds(0), 0), Some(seconds(150)));
        assert_eq!(small.free(seconds(150)), 1);
    }

    #[test]
    fn the_turn_of_those_who_wait() {
        let mut window = window(3);
        fill(&mut window, 1, seconds(0));
        fill(&mut window, 1, seconds(5));
        let turns = |window: &mut Window, now| {
            let turn = |ahead| window.turn(seconds(now), ahead).unwrap().as_secs();
            (0..8).map(turn).collect::<Vec<_>>()
        };
        assert_eq!(turns(&mut window, 10), [10, 30, 35, 40, 60, 65, 70, 90]);
        window.take();
        assert_eq!(turns(&mut window, 10), [30, 35, 40, 60, 65, 70, 90, 95]);
        // Halved to one place: two of the three must be forgotten first.
        window.halve(seconds(10), seconds(10));
        assert_eq!(window.turn(seconds(10), 0), Some(seconds(40)));
    }

    proptest! {
        // As a service would count that looks back over one window from each request that reaches it.
        #[test]
        fn no_window_holds_more_than_the_budget(
            count in 1u32..6,
            steps in proptest::collection::vec((0u64..9, 0u64..12, any::<bool>()), 1..200),
        ) {
            let mut window = window(count);
            let mut now = 0;
            let mut arrivals: Vec<u64> = Vec::new();
            let mut under_way: Vec<(u64, u64)> = Vec::new();
            for (wait, takes, sent) in steps {
                now += wait;
                under_way.sort_unstable();
                while let Some((end, arrival)) = under_way.first().copied().filter(|(end, _)| *end <= now) {
                    under_way.remove(0);
                    window.end(seconds(end));
                    arrivals.push(arrival);
                }
                if window.free(seconds(now)) > 0 {
                    window.take();
                    if sent {
                        // It arrives at some time before it ends.
                        under_way.push((now + takes, now + takes / 2));
                    } else {
                        window.give_back();
                    }
                }
            }
            arrivals.extend(under_way.iter().map(|(_, arrival)| *arrival));
            for end in &arrivals {
                let seen = arrivals.iter().filter(|at| **at <= *end && **at + 30 > *end).count();
                prop_assert!(seen <= count as usize, "{seen} in the window that ends at {end}");
            }
        }

        // The foreseen turn is never later than the real one.
        #[test]
        fn a_turn_comes_no_earlier_than_foreseen(
            count in 1u32..5, used in proptest::collection::vec(0u64..30, 0..5), ahead in 0usize..20, halved in any::<bool>(),
        ) {
            let mut window = window(count);
            let mut used = used;
            used.truncate(count as usize);
            used.sort_unstable();
            for at in used {
                window.take();
                window.end(seconds(at));
            }
            if halved {
                window.halve(seconds(30), seconds(35));
            }
            let foreseen = window.turn(seconds(30), ahead).unwrap().as_secs();
            // Those ahead are sent as soon as there is room, and end at once.
            let mut waiting = ahead + 1;
            let mut now = 30;
            loop {
                while waiting > 0 && window.free(seconds(now)) > 0 {
                    window.take();
                    window.end(seconds(now));
                    waiting -= 1;
                }
                if waiting == 0 {
                    break;
                }
                now += 1;
                prop_assert!(now < 10_000);
            }
            prop_assert!(foreseen <= now, "{foreseen} > {now}");
            if !halved {
                prop_assert_eq!(foreseen, now);
            }
        }
    }
}
