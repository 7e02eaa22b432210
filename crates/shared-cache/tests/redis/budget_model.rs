//! The budget's scripts against a naive model, in random interleavings. Their time is given to them: where they ask the server for
//! it they get a key's value instead, and no key expires, as that goes by the server's own clock. Nothing else of them is changed.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "budgets of a few requests"
)]

use redis::aio::MultiplexedConnection;

use crate::server::Server;

type Answer = (String, u64, String, u64);

/// Microseconds. All times are whole steps, so that a window's end is met exactly.
const STEP: u64 = 1_000;

fn scripted(script: &str) -> String {
    let (asked, expires) = ("redis.call('TIME')", "redis.call('PEXPIRE', ");
    assert!(script.contains(asked) && script.contains("'PEXPIRE'") == script.contains(expires));
    let script = script.replace(asked, "redis.call('HMGET', 'time', 'seconds', 'microseconds')");
    format!("local function expire() end\n{}", script.replace(expires, "expire("))
}

struct Scripts {
    connection: MultiplexedConnection,
    take: String,
    end: String,
    pause: String,
}

impl Scripts {
    async fn run<T: redis::FromRedisValue>(&mut self, script: &str, keys: &[&str], arguments: &[String]) -> T {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        command.query_async(&mut self.connection).await.unwrap()
    }

    async fn set_time(&mut self, now: u64) {
        let mut command = redis::cmd("HSET");
        command.arg("time").arg("seconds").arg(now / 1_000_000);
        command.arg("microseconds").arg(now % 1_000_000);
        command.query_async::<i64>(&mut self.connection).await.unwrap();
    }
}

struct Place {
    id: String,
    taken: u64,
    ended: Option<u64>,
    was_sent: bool,
}

/// What docs/limits.md says, without any thought of how it is computed.
struct Model {
    count: u64,
    window: u64,
    longest: u64,
    now: u64,
    places: Vec<Place>,
    // The fraction after the last pause, and its end.
    pause: Option<(f64, u64)>,
}

impl Model {
    /// When a place stops to count.
    fn release(&self, place: &Place) -> u64 {
        place.ended.unwrap_or(place.taken + self.longest) + self.window
    }

    fn counting(&self) -> Vec<u64> {
        let sent = self.places.iter().filter(|place| place.was_sent);
        sent.map(|place| self.release(place))
            .filter(|release| *release > self.now)
            .collect()
    }

    fn in_force(&self, at: u64) -> f64 {
        let whole = self.count as f64;
        let Some((fraction, end)) = self.pause else {
            return whole;
        };
        let windows = at.saturating_sub(end) / self.window;
        whole.min(whole * fraction + windows as f64 * whole / 10.0)
    }

    fn paused_for(&self) -> Option<u64> {
        let (_, end) = self.pause?;
        end.checked_sub(self.now).filter(|left| *left > 0)
    }

    fn expected(&self, share: f64, ahead: u64) -> &'static str {
        let used = self.counting().len() as f64;
        let in_force = self.in_force(self.now);
        let may = used + 1.0 <= in_force + 1e-6 && (share >= 1.0 || used < share * in_force - 1e-6);
        match self.paused_for() {
            Some(_) => "paused",
            None if may && ahead == 0 => "taken",
            None => "full",
        }
    }

    /// When the caller behind `ahead` others is sent, if all that is under way ends now, and whoever is sent ends at once.
    fn turn(&self, ahead: u64) -> u64 {
        let mut releases: Vec<u64> = self
            .counting()
            .iter()
            .map(|release| (*release).min(self.now + self.window))
            .collect();
        let mut waiting = ahead + 1;
        let mut at = self.now;
        loop {
            releases.retain(|release| *release > at);
            let room = (self.in_force(at) + 1e-6).floor() as u64;
            let room = room.saturating_sub(releases.len() as u64);
            for _ in 0..room.min(waiting) {
                releases.push(at + self.window);
            }
            waiting = waiting.saturating_sub(room);
            if waiting == 0 {
                return at;
            }
            at += STEP;
        }
    }

    /// The service's view: however long each was on its way, no window met more than the budget.
    fn no_window_holds_more(&self) {
        let sent: Vec<&Place> = self.places.iter().filter(|place| place.was_sent).collect();
        for last in &sent {
            let together = sent
                .iter()
                .filter(|place| place.taken <= last.taken && self.release(place) > last.taken)
                .count();
            assert!(together as u64 <= self.count, "{together} of {}", self.count);
        }
    }
}

async fn run(scripts: &mut Scripts, seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let (places_key, pause_key) = (format!("{{{seed}}}:places"), format!("{{{seed}}}:pause"));
    let mut model = Model {
        count: random.u64(1..8),
        window: random.u64(1..30) * STEP,
        longest: random.u64(5..40) * STEP,
        now: 1_800_000_000_000_000 + random.u64(..1_000_000),
        places: Vec::new(),
        pause: None,
    };
    let (take, end, pause) = (scripts.take.clone(), scripts.end.clone(), scripts.pause.clone());
    for step in 0..150 {
        scripts.set_time(model.now).await;
        match random.u8(..10) {
            0..5 => {
                let share = if random.u8(..4) == 0 { random.f64() } else { 1.0 };
                let ahead = if random.u8(..4) == 0 { random.u64(..12) } else { 0 };
                let id = if random.u8(..5) == 0 {
                    String::new()
                } else {
                    format!("place {step}")
                };
                let arguments = [
                    id.clone(),
                    model.count.to_string(),
                    model.window.to_string(),
                    model.longest.to_string(),
                    share.to_string(),
                    ahead.to_string(),
                ];
                let answer: Answer = scripts.run(&take, &[&places_key, &pause_key], &arguments).await;
                let (what, used, limit, wait) = answer;
                let mut expected = model.expected(share, ahead);
                if expected == "taken" && id.is_empty() {
                    expected = "full";
                }
                assert_eq!(what, expected, "seed {seed} step {step}");
                let limit: f64 = limit.parse().unwrap();
                assert!(
                    (limit - model.in_force(model.now)).abs() < 1e-6,
                    "seed {seed} step {step}: {limit}"
                );
                match what.as_str() {
                    "taken" => model.places.push(Place {
                        id,
                        taken: model.now,
                        ended: None,
                        was_sent: true,
                    }),
                    "paused" => assert_eq!(Some(wait), model.paused_for()),
                    // Foreseen is never later than it comes; without a pause before it is exact.
                    _ => {
                        let turn = model.turn(ahead);
                        let foreseen = model.now + wait;
                        assert!(foreseen <= turn, "seed {seed} step {step}: {foreseen} > {turn}");
                        let is_whole = model.in_force(model.now) >= model.count as f64;
                        assert!(
                            !is_whole || foreseen == turn,
                            "seed {seed} step {step}: {foreseen} < {turn}"
                        );
                    }
                }
                assert_eq!(used, model.counting().len() as u64, "seed {seed} step {step}");
            }
            5..8 => {
                let open: Vec<usize> = (0..model.places.len())
                    .filter(|at| model.places[*at].ended.is_none() && model.places[*at].was_sent)
                    .filter(|at| model.places[*at].taken + model.longest >= model.now)
                    .collect();
                let Some(at) = random.choice(open) else { continue };
                let (id, now) = (model.places[at].id.clone(), model.now);
                if random.u8(..5) == 0 {
                    model.places[at].was_sent = false;
                    let mut command = redis::cmd("ZREM");
                    command.arg(&places_key).arg(id);
                    command.query_async::<i64>(&mut scripts.connection).await.unwrap();
                } else {
                    model.places[at].ended = Some(now);
                    let arguments = [model.window.to_string(), "0".to_owned(), id];
                    scripts.run::<i64>(&end, &[&places_key], &arguments).await;
                }
            }
            8 if random.u8(..6) == 0 => {
                let length = random.u64(1..40) * STEP;
                let is_new = random.bool();
                let arguments = [
                    length.to_string(),
                    u8::from(is_new).to_string(),
                    model.window.to_string(),
                ];
                scripts.run::<i64>(&pause, &[&pause_key], &arguments).await;
                let until = model.now + length;
                model.pause = Some(match model.pause {
                    // Of one pause several replicas may tell.
                    Some((fraction, end)) if end > model.now => (fraction, end.max(until)),
                    _ => {
                        let fraction = model.in_force(model.now) / model.count as f64;
                        (if is_new { (fraction / 2.0).max(0.1) } else { fraction }, until)
                    }
                });
            }
            _ => model.now += random.u64(..12) * STEP,
        }
    }
    model.no_window_holds_more();
    model.places.len()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn random_interleavings_are_as_the_model_says() {
    let server = Server::start().await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let mut scripts = Scripts {
        connection: client.get_multiplexed_async_connection().await.unwrap(),
        take: scripted(include_str!("../../src/scripts/take.lua")),
        end: scripted(include_str!("../../src/scripts/end.lua")),
        pause: scripted(include_str!("../../src/scripts/pause.lua")),
    };
    let mut taken = 0;
    for seed in 0..150 {
        taken += run(&mut scripts, seed).await;
    }
    assert!(taken > 2000, "only {taken} places");
}
