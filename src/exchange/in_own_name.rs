//! Requests in the broker's own name, which ACS may refuse with the broker's token for it.

use std::future::Future;

use tokio::time::Instant;

use azure::Response;
use azure::acs_signing::{Refused, SignedSendError};
use azure::budget::Place;
use azure::retry::{self, CallError, Guards};
use base::clock::Clock;

/// What a request needs beside itself.
pub(super) struct Means<'m> {
    /// What says whether the endpoint may be called.
    pub(super) guards: Guards<'m>,
    /// The place in its budget.
    pub(super) place: Option<Place>,
    /// The time.
    pub(super) clock: &'m dyn Clock,
    /// Until when the answer must be there.
    pub(super) deadline: Instant,
}

/// Calls ACS by `attempt`. If `is_refused` says that the answer refuses a token of the broker's own, that is asked for anew,
/// once: as ACS counts that request too, only if the budget has a place for it.
pub(super) async fn call<F>(
    means: Means<'_>,
    is_refused: impl FnOnce(&Response) -> bool,
    attempt: impl Fn(Refused) -> F,
) -> Result<Response, CallError<SignedSendError>>
where
    F: Future<Output = Result<Response, SignedSendError>>,
{
    let Means {
        guards,
        place,
        clock,
        deadline,
    } = means;
    let called = retry::call(guards, place, clock, deadline, || attempt(Refused::Discard)).await;
    if !called.as_ref().is_ok_and(is_refused) {
        return called;
    }
    retry::call_again(guards, clock, deadline, || attempt(Refused::Keep))
        .await
        .unwrap_or(called)
}
