//! That what a look costs does not grow with what is looked into.

use std::sync::Arc;
use std::time::Duration;

use acs_token_broker::authenticate::{Authenticator, Caller, Policy, TokenContext};
use acs_token_broker::authorize::Authorizer;
use acs_token_broker::authorize::assignment::{Assignment, PrincipalType};
use acs_token_broker::authorize::source::{AssignmentWatch, SourceKind};
use acs_token_broker::cache::shared::Exchanged;
use acs_token_broker::cache::{Lookup, Token, TokenCache, Weigh};
use acs_token_broker::pipeline::FailedExchange;
use base::ids::TenantId;
use base::secret::{BearerToken, TokenDigest};
use config::{CacheConfig, RenewalConfig, UnknownGroups};
use divan::{Bencher, black_box};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::azure_side::{APP, AUDIENCE, start, tenant_id, token, user_id};
use crate::composed;
use crate::stages::{caller, verified};
use crate::world::WORLD;

const DAY: Duration = Duration::from_hours(24);
/// Those that take turns, so that not one place alone is looked at.
const TURNS: usize = 200;

/// All sizes in a measurement; else, where each bench runs once to be seen working, the two smallest.
fn sizes<const N: usize>(all: [u64; N]) -> Vec<u64> {
    let measures = std::env::args().any(|argument| argument == "--bench");
    all.into_iter().take(if measures { N } else { 2 }).collect()
}

/// Numbers below `size` from all over it.
fn spread(size: u64) -> impl Iterator<Item = u64> {
    (0_u64..).map(move |number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % size)
}

/// Users' assignments, one of which is the caller's.
#[divan::bench(args = sizes([100, 10_000, 1_000_000]))]
fn authorize_by_assignments(bencher: Bencher<'_, '_>, assignments: u64) {
    let assigned = |user| Assignment {
        object_id: user_id(user).parse().unwrap(),
        tenant_id: tenant_id(0).parse().unwrap(),
        principal_type: PrincipalType::User,
        client_ids: vec![APP.parse().unwrap()],
        allowed_scopes: None,
    };
    let watch = AssignmentWatch::new(Arc::clone(&WORLD.clock), [SourceKind::File]);
    let source = watch.source(SourceKind::File);
    source.replace((0..assignments).map(assigned).collect());
    let authorizer = Authorizer::new(watch, UnknownGroups::Acs);
    let caller = |user| verified(&BearerToken::new(token(0, user, 0)));
    let callers: Vec<Caller> = spread(assignments).take(TURNS).map(caller).collect();
    let deadline = Instant::now();
    let mut turns = callers.iter().cycle();
    bencher
        .with_inputs(|| turns.next().unwrap().clone())
        .bench_local_values(|caller| {
            let permit = authorizer.authorize(caller, deadline).now_or_never().unwrap();
            permit.unwrap()
        });
}

/// Tokens that are known, of as many tenants.
#[divan::bench(args = sizes([1, 100, 2_000]))]
fn authenticate_known_token_by_tenants(bencher: Bencher<'_, '_>, tenants: u64) {
    let authenticator = authenticator(tenants);
    let token = |tenant| BearerToken::new(token(tenant, 1, 0));
    let tokens: Vec<BearerToken> = spread(tenants).take(TURNS).map(token).collect();
    let verify = |token: &BearerToken| caller(authenticator.verify(token, &|_: TokenContext| true));
    for token in &tokens {
        verify(token);
    }
    let mut turns = tokens.iter().cycle();
    bencher
        .with_inputs(|| turns.next().unwrap())
        .bench_local_values(|token| verify(black_box(token)));
}

/// Tokens whose signature has to be checked.
#[divan::bench(args = sizes([1, 100, 2_000]))]
fn authenticate_new_token_by_tenants(bencher: Bencher<'_, '_>, tenants: u64) {
    let authenticator = authenticator(tenants);
    let (mut turns, mut number) = (spread(tenants), 0);
    bencher
        .with_inputs(|| {
            number += 1;
            BearerToken::new(token(turns.next().unwrap(), 1, number))
        })
        .bench_local_refs(|token| caller(authenticator.verify(token, &|_: TokenContext| true)));
}

/// One that has the keys of so many tenants.
fn authenticator(tenants: u64) -> Authenticator {
    let tenants: Vec<TenantId> = (0..tenants).map(|tenant| tenant_id(tenant).parse().unwrap()).collect();
    let policy = Policy::new(&[AUDIENCE.to_owned()], &["VoIP".to_owned()], Duration::ZERO);
    WORLD.runtime.block_on(async {
        let origin = start().await;
        composed::authenticator(&origin, &tenants, policy, &WORLD.clock).await
    })
}

/// Entries, all of which are looked at.
#[divan::bench(args = sizes([1_000, 10_000, 100_000, 1_000_000]))]
fn cached_token_by_entries(bencher: Bencher<'_, '_>, entries: u64) {
    let ends = WORLD.clock.now() + DAY;
    let config = CacheConfig {
        max_entries: entries * 2,
        max_bytes: u64::MAX / 2,
        renewal: RenewalConfig {
            expiry_margin: Duration::ZERO,
            min_remaining: Duration::ZERO,
            refresh_ahead: Duration::ZERO,
            refresh_jitter: Duration::ZERO,
            min_gain: Duration::ZERO,
            renewal_backoff: Duration::ZERO,
        },
    };
    let cache: TokenCache<User, Ends, FailedExchange> = TokenCache::new(&config, Arc::clone(&WORLD.clock));
    let lookup = Lookup {
        digest: TokenDigest::new(&BearerToken::new("one for all")),
        token_expires_on: None,
        max_age: None,
    };
    WORLD.runtime.block_on(async {
        for user in 0..entries {
            let exchange = move |_, _, _| std::future::ready(Ok(Exchanged::Token(Ends(ends))));
            let answer = cache.get(User(user), &lookup, None, exchange, Instant::now);
            answer.await.unwrap();
        }
    });
    assert_eq!(cache.fill().0, entries);
    let mut turns = spread(entries);
    bencher
        .with_inputs(|| User(turns.next().unwrap()))
        .bench_local_values(|user| {
            let answer = cache.served(user, &lookup).now_or_never().unwrap();
            answer.is_ok().then_some(()).unwrap();
        });
}

/// A key of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct User(u64);

impl Weigh for User {
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// A token of which nothing but its end matters.
struct Ends(Timestamp);

impl Token for Ends {
    fn expires_on(&self) -> Timestamp {
        self.0
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}
