//! What a cached user holds in memory, counted by the allocator: alone in its process, as it counts all there is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![expect(dead_code, reason = "the parts are those of the benches, which use all of them")]

#[path = "../../benches/in_process/azure_side.rs"]
mod azure_side;
#[path = "../../benches/composed/mod.rs"]
mod composed;
#[path = "../../benches/in_process/world.rs"]
mod world;

use std::ops::Range;

use peak_alloc::PeakAlloc;

use self::azure_side::token;
use self::world::{WORLD, post_token};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Those for whom tables grow, and what is made once.
const FIRST: u64 = 600;
const USERS: u64 = 400;
/// Bytes on the heap for each: their ACS token of 900 bytes, and what is remembered of the Entra token that they presented; 2,110 when
/// this was written.
const MOST: usize = 2_250;

fn serve(users: Range<u64>) {
    for user in users {
        let response = WORLD.call(post_token(Some(&token(0, user, 0))));
        assert_eq!(response.status().as_u16(), 200);
    }
}

#[test]
fn a_cached_user_is_small() {
    serve(0..FIRST);
    let before = HEAP.current_usage();
    serve(FIRST..FIRST + USERS);
    let held = HEAP.current_usage().saturating_sub(before) / usize::try_from(USERS).unwrap();
    assert!(held <= MOST, "{held} bytes for each");
    // All are kept.
    assert_eq!(WORLD.pipeline.cache.fill().0, FIRST + USERS);
}
