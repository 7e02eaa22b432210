//! A round: something happens, then many users ask at once, and each answer is judged.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use azure_emulator::Endpoint;
use fastrand::Rng;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::judge::{Case, Key, Presented, State, Trouble, right};
use crate::ledger::{Issued, Ledger, Tally};
use crate::traffic::{self, Answer, Form, Held};
use crate::world::{CANARIES, Resource, USERS, World, eventually};

/// Requests under way at once.
const AT_ONCE: usize = 32;
/// How many of the last events are shown when something is wrong.
const SHOWN: usize = 25;

/// A run and its state.
pub(crate) struct Soak {
    pub(crate) random: Rng,
    pub(crate) world: World,
    pub(crate) client: reqwest::Client,
    pub(crate) tally: Tally,
    ledger: Ledger,
    /// The tokens of each user, by variant.
    wallets: HashMap<(usize, usize), Held>,
    /// The latest end that the cache of this broker has seen for a user and variant.
    latest: HashMap<(usize, usize), i64>,
    /// Users who have asked this broker with a good token.
    pub(crate) asked: HashSet<usize>,
    /// Counts the brokers.
    pub(crate) lives: u32,
    /// Keys that Entra no longer has.
    pub(crate) withdrawn: HashSet<String>,
    /// Keys of tokens that this broker has served.
    proven: HashSet<String>,
    /// Keys that the broker cannot have.
    pub(crate) unseen: HashSet<String>,
    pub(crate) trouble: Option<Trouble>,
    /// A circuit may be open still.
    pub(crate) mending: bool,
    pub(crate) secrets: VecDeque<String>,
    pub(crate) secret_written: Option<Instant>,
    history: VecDeque<String>,
    rounds: u64,
    begun: i64,
}

/// A request of a round.
struct Planned {
    person: usize,
    variant: usize,
    form: Form,
    presented: Presented,
    token: Option<String>,
    case: Case,
}

impl Soak {
    #[expect(clippy::disallowed_methods, reason = "the users' client")]
    pub(crate) async fn start(seed: u64) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let world = World::start().await;
        let soak = Self {
            random: Rng::with_seed(seed),
            begun: world.now(),
            world,
            client,
            tally: Tally::default(),
            ledger: Ledger::default(),
            wallets: HashMap::new(),
            latest: HashMap::new(),
            asked: HashSet::new(),
            lives: 0,
            withdrawn: HashSet::new(),
            proven: HashSet::new(),
            unseen: HashSet::new(),
            trouble: None,
            mending: false,
            secrets: VecDeque::new(),
            secret_written: None,
            history: VecDeque::new(),
            rounds: 0,
        };
        soak.ready().await;
        soak
    }

    /// Waits until the broker is ready.
    pub(crate) async fn ready(&self) {
        let (client, life) = (&self.client, &self.world.life);
        eventually("ready", async || {
            traffic::managed(client, life, "/readyz").await.0 == 200
        })
        .await;
    }

    /// Lets time pass for everybody.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.world.clock.advance(Duration::from_secs(seconds));
    }

    /// Notes what happened, for the report of a failure and for the count.
    pub(crate) fn note(&mut self, event: &'static str, detail: &str) {
        *self.tally.events.entry(event).or_default() += 1;
        let now = Timestamp::from_second(self.world.now()).unwrap();
        self.history
            .push_back(format!("{now} round {}: {event} {detail}", self.rounds));
        if self.history.len() > SHOWN {
            self.history.pop_front();
        }
    }

    /// Another broker has an empty cache and keys that it fetched itself.
    pub(crate) fn new_life(&mut self) {
        self.lives += 1;
        self.mending = false;
        self.latest.clear();
        self.proven.clear();
        self.asked.clear();
    }

    pub(crate) async fn round(&mut self) {
        self.rounds += 1;
        self.events().await;
        let number = self.random.usize(40..160);
        let planned: Vec<Planned> = (0..number).map(|_| self.plan()).collect();
        self.settle_cases(planned).await;
        if self.rounds.is_multiple_of(100) {
            let now = self.world.now();
            self.ledger.forget(now);
        }
    }

    /// Somebody, with something to present.
    fn plan(&mut self) -> Planned {
        let person = loop {
            let person = self.random.usize(..USERS * Resource::ALL.len());
            if person % USERS >= CANARIES {
                break person;
            }
        };
        let now = self.world.now();
        let who = self.world.people[person].clone();
        let variant = self.random.usize(..traffic::variants(who.resource));
        let presented = match self.random.u8(0..60) {
            0 => Presented::Tampered,
            1 => Presented::OtherAudience,
            2 => Presented::NoScope,
            3 => Presented::OtherApp,
            4 => Presented::Early,
            5 => Presented::Nothing,
            _ => Presented::Own,
        };
        // Front ends ask Entra for a new token when theirs is about to end; some are late.
        let stale = self.wallets.get(&(person, variant)).is_none_or(|held| {
            let left = held.end - now;
            left < -600 || (left < 300 && self.random.u8(0..4) > 0) || self.random.u8(0..20) == 0
        });
        if stale {
            let held = traffic::acquire(&self.world.emulator, &who, variant, now, &mut self.random);
            self.wallets.insert((person, variant), held);
        }
        let held = self.wallets[&(person, variant)].clone();
        let form = match (self.random.u8(0..4), who.resource) {
            (0, Resource::Calling | Resource::Annex | Resource::Behalf | Resource::Identity) => Form::AcsPath,
            (1, _) if presented != Presented::Nothing => Form::TokenExchange,
            _ => Form::Plain,
        };
        let token = traffic::present(&self.world.emulator, &who, &held, presented);
        let kid = token.as_deref().map(traffic::kid_of).unwrap_or_default();
        let own = presented == Presented::Own || presented == Presented::Tampered;
        let key = match () {
            () if self.unseen.contains(&kid) => Key::Unseen,
            () if self.withdrawn.contains(&kid) => Key::Withdrawn,
            () => Key::Published,
        };
        let case = Case {
            resource: who.resource,
            presented,
            assigned: who.assigned,
            left: if own { held.end - now } else { 3600 },
            key,
            proven: self.proven.contains(&kid),
            trouble: self.trouble,
            broker: if self.mending { State::Mending } else { State::Serving },
            never_served: !self.asked.contains(&person),
            served_left: held
                .served
                .filter(|(life, _)| *life == self.lives)
                .map(|(_, end)| end - now),
        };
        Planned {
            person,
            variant,
            form,
            presented,
            token,
            case,
        }
    }

    /// Sends what was planned, many at once, and judges the answers.
    async fn settle_cases(&mut self, planned: Vec<Planned>) {
        let (client, public) = (&self.client, self.world.life.public);
        let answers: Vec<(Planned, Answer)> = stream::iter(planned)
            .map(async |planned| {
                let answer = traffic::send(client, public, planned.token.as_deref(), planned.form).await;
                (planned, answer)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (planned, answer) in answers {
            self.tally.requests += 1;
            self.judge(&planned, &answer);
        }
    }

    /// Requests while the broker is asked to end: whoever gets an answer gets the right one, and nobody else gets any.
    pub(crate) async fn restart_under_load(&mut self) {
        let mut planned: Vec<Planned> = (0..20).map(|_| self.plan()).collect();
        for one in &mut planned {
            one.case.broker = State::Ending;
        }
        let (client, public) = (self.client.clone(), self.world.life.public);
        let sending = tokio::spawn(
            stream::iter(planned)
                .map(move |planned| {
                    let client = client.clone();
                    async move {
                        let answer = traffic::send(&client, public, planned.token.as_deref(), planned.form).await;
                        (planned, answer)
                    }
                })
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>(),
        );
        tokio::task::yield_now().await;
        self.world.drain();
        for (planned, answer) in sending.await.unwrap() {
            self.tally.requests += 1;
            if matches!(answer, Answer::Lost(_)) {
                self.tally.lost_in_restarts += 1;
            } else {
                self.judge(&planned, &answer);
            }
        }
        self.world.succeed().await;
        self.new_life();
        self.ready().await;
    }

    fn judge(&mut self, planned: &Planned, answer: &Answer) {
        let right = right(&planned.case);
        let now = self.world.now();
        let Planned { person, variant, .. } = *planned;
        if planned.presented == Presented::Own && planned.case.assigned {
            self.asked.insert(person);
        }
        let verdict = match answer {
            Answer::Token { token, end, identity } => {
                if let Some(presented) = &planned.token {
                    self.proven.insert(traffic::kid_of(presented));
                }
                let slot = (person, variant);
                let held = self.wallets[&slot].clone();
                let issued = Issued {
                    token,
                    end: *end,
                    identity: identity.as_deref(),
                };
                let who = self.world.people[person].clone();
                let latest = self.latest.entry(slot).or_default();
                *latest = (*latest).max(*end);
                // An entry that ends later is not this token's.
                let certain = *end == *latest;
                if planned.presented == Presented::Own
                    && let Some(held) = self.wallets.get_mut(&slot)
                    && Some(held.token.as_str()) == planned.token.as_deref()
                {
                    held.served = certain.then_some((self.lives, *end));
                }
                let held = Held {
                    end: now + planned.case.left,
                    ..held
                };
                let checked = self.ledger.check((person, &who), &held, &issued, now, &mut self.tally);
                match checked {
                    Ok(()) if right.contains("200") => Ok(()),
                    Ok(()) => Err("200".to_owned()),
                    Err(reason) => Err(format!("200, and {reason}")),
                }
            }
            Answer::Refusal(said) if right.iter().any(|right| same(right, said, planned.form)) => {
                *self.tally.refusals.entry(said.clone()).or_default() += 1;
                return;
            }
            Answer::Refusal(said) => Err(said.clone()),
            Answer::Lost(reason) => Err(format!("no answer: {reason}")),
        };
        match verdict {
            Ok(()) => self.tally.tokens += 1,
            Err(said) => {
                self.tally.wrong += 1;
                let name = &self.world.people[person].name;
                println!(
                    "WRONG: {name} {:?} {:?}: answered {said}, right is {right:?}",
                    planned.form, planned.case
                );
            }
        }
    }

    /// What was counted; and what happened last, if something was wrong.
    pub(crate) fn report(&self, took: Duration) {
        let tally = &self.tally;
        if tally.failures() > 0 {
            for line in &self.history {
                println!("{line}");
            }
        }
        let refusals: u64 = tally.refusals.values().sum();
        println!(
            "{:.0} s, {} rounds, {} h of moved time, {} users in {} resources",
            took.as_secs_f64(),
            self.rounds,
            (self.world.now() - self.begun) / 3600,
            self.world.people.len(),
            Resource::ALL.len()
        );
        println!(
            "requests {}, right {}: tokens {}, refusals {refusals}",
            tally.requests,
            tally.right(),
            tally.tokens
        );
        for (refusal, count) in &tally.refusals {
            println!("    {count:>8}  {refusal}");
        }
        println!("not answered by brokers that were ending: {}", tally.lost_in_restarts);
        let of_emulator = [Endpoint::Exchange, Endpoint::Identities, Endpoint::TeamsUser];
        let exchanges: usize = of_emulator
            .map(|endpoint| self.world.emulator.count(endpoint))
            .iter()
            .sum();
        println!("exchanges at ACS: {}", exchanges + self.world.annex.exchanges());
        println!("happened: {:?}", tally.events);
        println!(
            "wrong answers {}, tokens served past expiry {}, crossed between users {}, scopes {}, resources {}, modes {}",
            tally.wrong,
            tally.past_expiry,
            tally.crossed_users,
            tally.crossed_scopes,
            tally.crossed_resources,
            tally.crossed_modes
        );
    }
}

/// Whether an answer is a refusal that is right. In OAuth's shape 401 and 403 are 400, and the error is coarser.
fn same(right: &str, said: &str, form: Form) -> bool {
    if form != Form::TokenExchange {
        return right == said;
    }
    let expected = match right.split_once(' ') {
        Some(("401" | "403", _)) => "400 invalid_request in OAuth's shape",
        Some(("429" | "503", _)) => return said.starts_with(&right[..3]) && said.contains("temporarily_unavailable"),
        Some(("502", _)) => "502 server_error in OAuth's shape",
        _ => return false,
    };
    said == expected
}
