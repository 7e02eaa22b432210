//! What happens between rounds, drawn from the seed. After each, what the broker knows is known too: what takes effect in the
//! background is awaited.

use std::time::Duration;

use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_SECRET};
use azure_emulator::{Endpoint, Fault};
use serde_json::json;
use tokio::time::Instant;

use crate::judge::{Answered, Trouble};
use crate::round::Soak;
use crate::traffic;
use crate::world::{CANARIES, Resource, USERS, eventually};

/// Longer than `entra.jwks_refresh_cooldown`, than a refusal is remembered, than any pause and any open circuit here.
const SETTLED: u64 = 35;

/// When a changed secret file is in use for certain, in real time.
const SECRET_IN_USE: Duration = Duration::from_secs(14);

impl Soak {
    /// Lets time pass and, mostly, something happen.
    pub(crate) async fn events(&mut self) {
        let seconds = match self.random.u8(0..10) {
            0..=2 => 0,
            3..=6 => self.random.u64(1..120),
            7 | 8 => self.random.u64(120..1500),
            _ => self.random.u64(1500..6000),
        };
        self.pass(seconds);
        if self.mending {
            self.mending = !self.circuits_closed().await;
        }
        match self.random.u8(0..20) {
            0 | 1 => self.rotate_keys(),
            2..=4 => self.edit_assignments().await,
            5 => self.rotate_secret().await,
            6 | 7 if self.trouble.is_none() => {
                self.note("restart", "");
                self.restart_under_load().await;
            }
            8..=12 if self.trouble.is_none() && !self.mending => self.begin_trouble(),
            8..=14 if self.trouble.is_some() => self.end_trouble().await,
            _ => {}
        }
    }

    /// New keys for a tenant; sometimes the old ones are gone at once.
    fn rotate_keys(&mut self) {
        if self.trouble == Some(Trouble::Keys) {
            return;
        }
        let tenant = self.random.choice(Resource::ALL).unwrap().tenant().to_string();
        let old = self.kids(&tenant);
        self.world.emulator.rotate_keys(Some(&tenant)).unwrap();
        let withdraw = self.random.u8(0..3) == 0;
        if withdraw {
            self.world.emulator.withdraw_old_keys(Some(&tenant)).unwrap();
            self.withdrawn.extend(old);
        }
        // The first caller with the new key causes a fetch, unless there was one just now.
        self.pass(SETTLED);
        self.note("key rotation", if withdraw { "with withdrawal" } else { "" });
    }

    fn kids(&self, tenant: &str) -> Vec<String> {
        let set = self.world.emulator.jwks(tenant).unwrap();
        let keys = set["keys"].as_array().cloned().unwrap_or_default();
        keys.iter()
            .filter_map(|key| Some(key["kid"].as_str()?.to_owned()))
            .collect()
    }

    /// Some users lose their assignment, others get one. The canaries of each tenant change places.
    async fn edit_assignments(&mut self) {
        let mut changed = 0;
        for number in 0..self.world.people.len() {
            let canary = number % USERS < CANARIES;
            // Most are assigned at any time.
            let odds = if self.world.people[number].assigned { 20 } else { 4 };
            if canary || self.random.u8(0..odds) == 0 {
                self.world.people[number].assigned ^= true;
                changed += 1;
            }
        }
        self.world.write_assignments();
        self.note("assignment edit", &format!("of {changed}"));
        // Asked for with the newest key, which the broker must be able to have.
        if self.trouble == Some(Trouble::Keys) {
            self.end_trouble().await;
        }
        let now = self.world.now();
        for number in (0..self.world.people.len()).filter(|number| number % USERS < CANARIES) {
            let person = self.world.people[number].clone();
            let held = traffic::acquire(&self.world.emulator, &person, 0, now, &mut self.random);
            let expected = if person.assigned { "pass" } else { "fail" };
            let (client, life) = (&self.client, &self.world.life);
            // A key that the broker has not seen yet it fetches for a request, not for an explanation.
            traffic::send(client, life.public, Some(&held.token), traffic::Form::Plain).await;
            eventually("a changed assignment is in force", async || {
                traffic::explained(client, life, &held.token).await == expected
            })
            .await;
        }
    }

    /// The broker's app gets a new secret, the file too; the one before the last is no longer good.
    async fn rotate_secret(&mut self) {
        // The broker looks at its files every few seconds of real time, so the old one has to be good until then.
        let in_use = |at: Instant| at.elapsed() > SECRET_IN_USE;
        if !self.secret_written.is_none_or(in_use) {
            return;
        }
        self.secret_written = Some(Instant::now());
        let secret = format!("rotated-{}", self.random.u64(..));
        if self.secrets.is_empty() {
            self.secrets.push_back(CONTOSO_API_SECRET.to_owned());
        }
        self.secrets.push_back(secret.clone());
        if self.secrets.len() > 2 {
            self.secrets.pop_front();
        }
        let secrets: Vec<_> = self.secrets.iter().map(|value| json!({"value": value})).collect();
        let url = format!("{}/_emulator/apps/{CONTOSO_API}/secrets", self.world.emulator.origin());
        traffic::put(&self.client, &url, &json!({ "secrets": secrets })).await;
        self.world.write_secret(&secret);
        self.note("secret rotation", "");
    }

    /// Something goes wrong upstream.
    fn begin_trouble(&mut self) {
        let answered = [
            Answered::Status(429),
            Answered::Status(500),
            Answered::Status(503),
            Answered::Dropped,
            Answered::BrokenJson,
        ];
        let answered = self.random.choice(answered).unwrap();
        let status = self.random.choice([429, 500, 503, 403]).unwrap();
        let trouble = match self.random.u8(0..6) {
            0 => Trouble::Keys,
            1 => Trouble::Token(answered),
            2 => Trouble::Exchange(if status == 403 { Answered::Status(403) } else { answered }),
            3 => Trouble::Identities(answered),
            4 => Trouble::TeamsUser(answered),
            _ => Trouble::Annex(Answered::Status(status)),
        };
        let fault = |answered| match answered {
            Answered::Status(429) => Fault::status(429).retry_after("7"),
            Answered::Status(status) => Fault::status(status),
            Answered::Dropped => Fault::drop_connection(),
            Answered::BrokenJson => Fault {
                broken_json: true,
                ..Fault::default()
            },
        };
        let set = |endpoint, fault| self.world.emulator.set_fault(endpoint, fault).unwrap();
        match trouble {
            Trouble::Keys => set(Endpoint::Keys, Fault::status(503)),
            Trouble::Token(answered) => set(Endpoint::OnBehalfOf, fault(answered)),
            Trouble::Exchange(answered) => set(Endpoint::Exchange, fault(answered)),
            Trouble::Identities(answered) => set(Endpoint::Identities, fault(answered)),
            Trouble::TeamsUser(answered) => set(Endpoint::TeamsUser, fault(answered)),
            Trouble::Annex(Answered::Status(status)) => self.world.annex.answer(Some(status)),
            Trouble::Annex(_) => {}
        }
        if trouble == Trouble::Keys {
            let tenant = self.random.choice(Resource::ALL).unwrap().tenant().to_string();
            let before = self.kids(&tenant);
            self.world.emulator.rotate_keys(Some(&tenant)).unwrap();
            let new = self.kids(&tenant).into_iter().filter(|kid| !before.contains(kid));
            self.unseen.extend(new);
            self.pass(SETTLED);
        }
        self.trouble = Some(trouble);
        self.note("upstream fault", &format!("{trouble:?}"));
    }

    /// The upstream serves again. Until a circuit that has opened is closed by good answers, callers may still be told of it.
    async fn end_trouble(&mut self) {
        self.world.emulator.clear_faults();
        self.world.annex.answer(None);
        self.unseen.clear();
        self.pass(SETTLED);
        self.trouble = None;
        self.mending = !self.circuits_closed().await;
        self.note("end of the fault", "");
    }

    async fn circuits_closed(&self) -> bool {
        let (status, metrics) = traffic::managed(&self.client, &self.world.life, "/metrics").await;
        let mut circuits = metrics
            .lines()
            .filter(|line| line.starts_with("acs_broker_circuit_state{"));
        status == 200 && circuits.all(|line| line.ends_with(" 0"))
    }
}
