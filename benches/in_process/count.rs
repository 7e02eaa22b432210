//! Requests for a tool that counts instructions.

use std::hint::black_box;

use axum::body::Body;
use http::Request;

use crate::requests::Kind;
use crate::world::WORLD;

/// Not counted: what only the first ones do.
const FIRST: u64 = 20;

/// Sends so many requests of each kind, by the function of [`counted`] that has the kind's name.
pub(crate) fn run(requests: u64) {
    // The same in every run: ids of requests are drawn by it.
    fastrand::seed(7);
    send(Kind::Hot, prepared(Kind::Hot, 0, 1));
    for kind in Kind::ALL {
        send(kind, prepared(kind, 0, FIRST));
        let requests = prepared(kind, FIRST, requests);
        match kind {
            Kind::Hot => counted::hot(requests),
            Kind::NewToken => counted::new_token(requests),
            Kind::BadSignature => counted::bad_signature(requests),
            Kind::Garbage => counted::garbage(requests),
            Kind::Nothing => counted::nothing(requests),
        }
    }
}

fn prepared(kind: Kind, first: u64, requests: u64) -> Vec<Request<Body>> {
    (first..first + requests).map(|number| kind.request(number)).collect()
}

#[inline(never)]
fn send(kind: Kind, requests: Vec<Request<Body>>) {
    for request in requests {
        let response = black_box(WORLD.call(request));
        assert_eq!(response.status().as_u16(), kind.status(), "{kind}");
    }
}

/// What the tool tells apart: it knows what each function took with all that it calls. They have to stay functions of their
/// own, in a release build too.
mod counted {
    use super::{Body, Kind, Request, black_box, send};

    #[inline(never)]
    pub(super) fn hot(requests: Vec<Request<Body>>) {
        send(Kind::Hot, requests);
        black_box(());
    }

    #[inline(never)]
    pub(super) fn new_token(requests: Vec<Request<Body>>) {
        send(Kind::NewToken, requests);
        black_box(());
    }

    #[inline(never)]
    pub(super) fn bad_signature(requests: Vec<Request<Body>>) {
        send(Kind::BadSignature, requests);
        black_box(());
    }

    #[inline(never)]
    pub(super) fn garbage(requests: Vec<Request<Body>>) {
        send(Kind::Garbage, requests);
        black_box(());
    }

    #[inline(never)]
    pub(super) fn nothing(requests: Vec<Request<Body>>) {
        send(Kind::Nothing, requests);
        black_box(());
    }
}
