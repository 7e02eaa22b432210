//! Hundreds of users over hours of moved time, while keys, assignments and secrets change, upstreams fail and brokers are
//! restarted; and a checker that knows what each answer has to be. `tests/soak.sh SECONDS SEED` runs it.
//!
//! Time passes between rounds and stands still within one: what is right is known to the second. What happens is drawn from
//! the seed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on stops, and this one reports"
)]

mod annex;
mod events;
mod judge;
mod ledger;
mod round;
mod traffic;
mod world;

use std::time::Duration;

use tokio::time::Instant;

use self::round::Soak;

/// How long it runs, in seconds, and from which seed, unless it is said.
const DEFAULTS: (u64, u64) = (5, 1);

fn main() {
    let number = |name: &str, default: u64| {
        let text = std::env::vars().find(|(found, _)| found == name).map(|(_, text)| text);
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let (seconds, seed) = (number("SOAK_SECONDS", DEFAULTS.0), number("SOAK_SEED", DEFAULTS.1));
    println!("soak: {seconds} s, seed {seed}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let failures = runtime.block_on(run(Duration::from_secs(seconds), seed));
    if failures > 0 {
        println!("soak: {failures} failures; again with SOAK_SEED={seed}");
        std::process::exit(1);
    }
}

/// Runs rounds until the time has passed; how much was wrong.
async fn run(time: Duration, seed: u64) -> u64 {
    let mut soak = Soak::start(seed).await;
    let begun = Instant::now();
    let (mut memory, mut middle) = (vec![("start", resident())], false);
    while begun.elapsed() < time && soak.tally.failures() == 0 {
        soak.round().await;
        if !middle && begun.elapsed() * 2 > time {
            middle = true;
            memory.push(("middle", resident()));
        }
    }
    memory.push(("end", resident()));
    soak.report(begun.elapsed());
    let memory: Vec<String> = memory
        .iter()
        .map(|(when, kib)| format!("{when} {} MiB", kib / 1024))
        .collect();
    println!("memory of broker, emulator and users: {}", memory.join(", "));
    soak.tally.failures()
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
