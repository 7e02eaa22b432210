//! What the stages and the whole path of a request cost, in one process and without a socket.
//!
//! `cargo bench --bench in_process [FILTER]` measures times; `cargo test --bench in_process` runs each bench once, at its small
//! sizes. `in_process count KEY REQUESTS` sends requests for a tool that counts instructions: `tests/instructions.sh`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod azure_side;
#[path = "../composed/mod.rs"]
mod composed;
mod count;
mod requests;
mod scale;
mod stages;
mod world;

/// That of the broker.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [command, key, requests] if command == "count" => {
            azure_side::use_key_of(key.as_ref());
            count::run(requests.parse().unwrap());
        }
        _ => divan::main(),
    }
}
