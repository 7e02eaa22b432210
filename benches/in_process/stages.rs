//! The stages, each by itself.

use acs_token_broker::authenticate::{Caller, Verdict};
use acs_token_broker::cache::Lookup;
use base::secret::{BearerToken, TokenDigest};
use divan::{Bencher, black_box};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::azure_side::token;
use crate::world::{WORLD, post_token};

/// The caller whose token the broker verifies.
pub(crate) fn verified(token: &BearerToken) -> Caller {
    let pipeline = &WORLD.pipeline;
    caller(pipeline.authenticator.verify(token, &pipeline.routes.acceptance(None)))
}

/// The caller who must have been accepted.
pub(crate) fn caller(verdict: Verdict) -> Caller {
    match verdict {
        Verdict::Accepted(caller) => caller,
        Verdict::Refused(rejection) => panic!("{rejection}"),
        Verdict::KeyMiss(_) => panic!("no key"),
    }
}

#[divan::bench]
fn authenticate_known_token(bencher: Bencher<'_, '_>) {
    let token = BearerToken::new(token(0, 1, 0));
    verified(&token);
    bencher.bench_local(|| verified(black_box(&token)));
}

#[divan::bench]
fn authenticate_new_token(bencher: Bencher<'_, '_>) {
    let mut number = 1 << 32;
    bencher
        .with_inputs(|| {
            number += 1;
            BearerToken::new(token(0, 1, number))
        })
        .bench_local_refs(|token| verified(token));
}

#[divan::bench]
fn authorize(bencher: Bencher<'_, '_>) {
    let caller = verified(&BearerToken::new(token(0, 1, 0)));
    let resource = WORLD.pipeline.routes.resource_for(&caller).unwrap();
    let deadline = Instant::now();
    bencher
        .with_inputs(|| caller.clone())
        .bench_local_values(|caller| resource.authorizer.authorize(caller, deadline).now_or_never().unwrap());
}

#[divan::bench]
fn cached_token(bencher: Bencher<'_, '_>) {
    let token = BearerToken::new(token(0, 1, 0));
    WORLD.call(post_token(Some(token.expose())));
    let caller = verified(&token);
    let resource = WORLD.pipeline.routes.resource_for(&caller).unwrap();
    let permit = resource.authorizer.authorize(caller, Instant::now());
    let permit = permit.now_or_never().unwrap().unwrap();
    let digest = TokenDigest::new(&token);
    let plan = resource.exchanger.plan(permit, digest, None).unwrap();
    let lookup = Lookup {
        digest,
        token_expires_on: plan.bounded_by(),
        max_age: None,
    };
    bencher.with_inputs(|| plan.key().clone()).bench_local_values(|key| {
        let served = WORLD.pipeline.cache.served(key, &lookup).now_or_never().unwrap();
        assert!(served.is_ok());
        served.ok()
    });
}
