//! `[limits]` and `upstream.breaker`

use std::collections::HashMap;
use std::time::Duration;

use super::{or_off, positive};
use crate::exchange::ExchangeModeName as Mode;
use crate::limits::{BreakerConfig, LimitsConfig, Rate, RateOrOff};
use crate::reader::Field;
use crate::section::Section;
use crate::units::Reason;
use crate::value::{self, Raw};
use crate::{ResourceConfig, validate};

/// What Azure allows of token exchanges ("Service limits for Azure Communication Services", identity).
const EXCHANGES: Rate = Rate {
    count: 500,
    window: Duration::from_secs(30),
};
/// The same of identities with tokens.
const IDENTITIES: Rate = Rate {
    count: 1000,
    window: Duration::from_secs(30),
};
/// What one user may ask for, and cause upstream, in a minute.
const USER_REQUESTS: u32 = 60;
const USER_CALLS: u32 = 30;

/// Reads the section, and gives each resource's endpoint its budget. `shared`: whether there is a shared cache, beside which
/// it must be said how many replicas there are.
pub(super) fn limits(section: &mut Section<'_, '_>, resources: &mut [ResourceConfig], shared: bool) -> LimitsConfig {
    let in_a_minute = |count| {
        Some(Rate {
            count,
            window: Duration::from_mins(1),
        })
    };
    let for_all = section.field("upstream_exchanges", budget).given().map(RateOrOff::from);
    assign_budgets(section, resources, for_all);
    let replicas = section.field("replicas", calls);
    if shared && matches!(replicas, Field::Absent) {
        section.missing("replicas", "is required with [shared_cache]");
    }
    LimitsConfig {
        replicas: replicas.or(1),
        upstream_queue: section.field_or("upstream_queue", queue, 1000),
        renewal_share: section.field_or("renewal_share", share, 0.8),
        per_user: section.field_or("per_user", budget, in_a_minute(USER_REQUESTS)),
        per_address: section.field_or("per_address", budget, None),
        upstream_per_user: section.field_or("upstream_per_user", budget, in_a_minute(USER_CALLS)),
    }
}

/// A rate, or "off".
pub(super) fn budget(raw: Raw<'_>) -> Result<Option<Rate>, Reason> {
    or_off(raw, |raw| Rate::parse(&value::text(raw)?)).map_err(|reason| {
        if reason.starts_with("is not a rate") {
            format!("{reason}, or \"off\"")
        } else {
            reason
        }
    })
}

/// `upstream.breaker`
pub(super) fn breaker(section: &mut Section<'_, '_>) -> BreakerConfig {
    BreakerConfig {
        failure_rate: section.field_or("failure_rate", failure_rate, 0.5),
        min_calls: section.field_or("min_calls", calls, 20),
        window: section.field_or("window", positive, Duration::from_secs(10)),
        open_for: section.field_or("open_for", positive, Duration::from_secs(5)),
        half_open_calls: section.field_or("half_open_calls", calls, 3),
    }
}

/// ACS counts by endpoint, so resources of one endpoint share a budget. What one of them says counts; two may not differ.
/// Where none says anything, the smaller default of their modes counts.
fn assign_budgets(section: &mut Section<'_, '_>, resources: &mut [ResourceConfig], for_all: Option<RateOrOff>) {
    let mut said: HashMap<String, (String, RateOrOff)> = HashMap::new();
    let mut defaults: HashMap<String, Rate> = HashMap::new();
    for resource in &*resources {
        let origin = resource.exchange.endpoint.origin().ascii_serialization();
        let is_identity = Mode::from(&resource.exchange.mode) == Mode::Identity;
        let default = if is_identity { IDENTITIES } else { EXCHANGES };
        let shared = defaults.entry(origin.clone()).or_insert(default);
        shared.count = shared.count.min(default.count);
        let Some(own) = resource.exchange.own_budget else {
            continue;
        };
        let key = resource.key("exchange.upstream_exchanges");
        if let Some((first, other)) = said.get(&origin) {
            let reason = format!("differs from {first}, which is about the same endpoint");
            let reason = reason.as_str();
            section.rule(&key, &[first], *other == own, reason);
        } else {
            said.insert(origin, (key, own));
        }
    }
    for resource in resources {
        let origin = resource.exchange.endpoint.origin().ascii_serialization();
        let default = defaults.get(&origin).copied().or(Some(EXCHANGES));
        resource.exchange.budget = match said.get(&origin) {
            Some((_, own)) => own.rate(),
            None => for_all.map_or(default, RateOrOff::rate),
        };
    }
}

fn calls(raw: Raw<'_>) -> Result<u32, Reason> {
    let number = validate::count(value::number(raw)?)?;
    // The largest count fits.
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

fn queue(raw: Raw<'_>) -> Result<usize, Reason> {
    match value::number(raw)? {
        0 => Ok(0),
        number => validate::count(number),
    }
}

fn share(raw: Raw<'_>) -> Result<f64, Reason> {
    let share = value::fraction(raw)?;
    validate::require(share, (0.0..=1.0).contains(&share), "must be from 0 to 1")
}

fn failure_rate(raw: Raw<'_>) -> Result<f64, Reason> {
    let rate = value::fraction(raw)?;
    validate::require(rate, rate > 0.0 && rate <= 1.0, "must be more than 0 and at most 1")
}

impl Section<'_, '_> {
    /// Reads a table within this one that "off" can stand for. Absent, it is read from its defaults.
    pub(super) fn section_or_off<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, '_>) -> T) -> Option<T> {
        let table = match self.field(key, |raw| or_off(raw, value::table)) {
            Field::Given(None) => return None,
            Field::Given(Some(table)) => Some(table),
            Field::Absent | Field::Refused => None,
        };
        Some(self.section_of(key, table, read))
    }
}
