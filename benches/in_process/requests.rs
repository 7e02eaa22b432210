//! Whole requests through the public handler.

use axum::body::Body;
use divan::{Bencher, black_box};
use http::Request;

use crate::azure_side::token;
use crate::world::{WORLD, post_token};

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Kind {
    /// A known token, whose ACS token is cached.
    Hot,
    /// A token that comes for the first time; its user's ACS token is cached.
    NewToken,
    /// A forged token.
    BadSignature,
    /// What is no token.
    Garbage,
    /// No token.
    Nothing,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Hot,
        Self::NewToken,
        Self::BadSignature,
        Self::Garbage,
        Self::Nothing,
    ];

    /// A request. No two numbers have the same new token.
    pub(crate) fn request(self, number: u64) -> Request<Body> {
        match self {
            Self::Hot => post_token(Some(&token(0, 1, 0))),
            Self::NewToken => post_token(Some(&token(0, 1, 1 + number))),
            Self::BadSignature => {
                let token = token(0, 1, 0);
                let (signed, signature) = token.rsplit_once('.').unwrap();
                post_token(Some(&format!("{signed}.{}", "A".repeat(signature.len()))))
            }
            Self::Garbage => post_token(Some("garbage")),
            Self::Nothing => post_token(None),
        }
    }

    /// The status of the answer.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Hot | Self::NewToken => 200,
            Self::BadSignature | Self::Garbage | Self::Nothing => 401,
        }
    }
}

#[divan::bench(args = Kind::ALL)]
fn whole_request(bencher: Bencher<'_, '_>, kind: Kind) {
    // The first of all is exchanged, so that the others find their ACS token in the cache.
    WORLD.call(Kind::Hot.request(0));
    let mut number = 0;
    bencher
        .with_inputs(|| {
            number += 1;
            kind.request(number)
        })
        .bench_local_values(|request| {
            let response = WORLD.call(request);
            assert_eq!(response.status().as_u16(), kind.status());
            black_box(response)
        });
}
