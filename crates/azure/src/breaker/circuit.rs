//! The rule of a circuit breaker: when a circuit opens, and what closes it. Times are monotonic and given by the caller.

use std::collections::VecDeque;
use std::time::Duration;

use config::BreakerConfig;

/// Attempts are counted in so many parts of the window, so that memory does not grow with their number.
const PARTS: u32 = 10;

/// What others see of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Attempts are made.
    Closed,
    /// A few attempts are made to see whether the upstream is well again.
    HalfOpen,
    /// None is made.
    Open,
}

/// What an attempt says of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    /// Nothing: it was given up, or had no chance.
    Neither,
}

/// An attempt that may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) is_probe: bool,
    // An attempt that began before the circuit changed says nothing any more.
    era: u64,
}

#[derive(Debug)]
pub(super) struct Circuit {
    config: BreakerConfig,
    phase: Phase,
    era: u64,
}

#[derive(Debug)]
enum Phase {
    Closed(VecDeque<Part>),
    Open { until: Duration },
    HalfOpen { under_way: u32, good: u32 },
}

/// The attempts of a part of the window.
#[derive(Debug)]
struct Part {
    number: u128,
    good: u32,
    bad: u32,
}

impl Circuit {
    pub(super) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            phase: Phase::Closed(VecDeque::new()),
            era: 0,
        }
    }

    pub(super) fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed(_) => CircuitState::Closed,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
            Phase::Open { .. } => CircuitState::Open,
        }
    }

    /// For how long an attempt would be refused, if it would be; nothing changes.
    pub(super) fn refusal(&self, now: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Closed(_) => None,
            Phase::Open { until } => until.checked_sub(now).filter(|left| !left.is_zero()),
            // It is open again, or closed, within a call.
            Phase::HalfOpen { under_way, good } => {
                (under_way + good >= self.config.half_open_calls).then_some(Duration::from_secs(1))
            }
        }
    }

    /// Whether an attempt may be made; if not, for how long none may.
    pub(super) fn admit(&mut self, now: Duration) -> Result<Admitted, Duration> {
        if let Some(wait) = self.refusal(now) {
            return Err(wait);
        }
        if matches!(self.phase, Phase::Open { .. }) {
            self.enter(Phase::HalfOpen { under_way: 0, good: 0 });
        }
        let mut is_probe = false;
        if let Phase::HalfOpen { under_way, .. } = &mut self.phase {
            *under_way += 1;
            is_probe = true;
        }
        Ok(Admitted {
            is_probe,
            era: self.era,
        })
    }

    /// An attempt has ended.
    pub(super) fn record(&mut self, attempt: Admitted, verdict: Verdict, now: Duration) {
        if attempt.era != self.era {
            return;
        }
        let open = Phase::Open {
            until: now + self.config.open_for,
        };
        match &mut self.phase {
            Phase::Open { .. } => {}
            Phase::Closed(parts) => {
                if verdict == Verdict::Neither {
                    return;
                }
                count(parts, verdict, now, self.config.window);
                let (good, bad) = parts.iter().fold((0_u32, 0_u32), |(good, bad), part| {
                    (good.saturating_add(part.good), bad.saturating_add(part.bad))
                });
                let all = good.saturating_add(bad);
                let fails = f64::from(bad) >= self.config.failure_rate * f64::from(all);
                if verdict == Verdict::Bad && all >= self.config.min_calls && fails {
                    self.enter(open);
                }
            }
            Phase::HalfOpen { under_way, good } => {
                *under_way = under_way.saturating_sub(1);
                match verdict {
                    Verdict::Neither => {}
                    Verdict::Bad => self.enter(open),
                    Verdict::Good => {
                        *good += 1;
                        if *good >= self.config.half_open_calls {
                            self.enter(Phase::Closed(VecDeque::new()));
                        }
                    }
                }
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.era += 1;
    }
}

fn count(parts: &mut VecDeque<Part>, verdict: Verdict, now: Duration, window: Duration) {
    let length = (window / PARTS).as_nanos().max(1);
    let number = now.as_nanos() / length;
    while parts
        .front()
        .is_some_and(|part| part.number + u128::from(PARTS) <= number)
    {
        parts.pop_front();
    }
    if parts.back().is_none_or(|part| part.number < number) {
        parts.push_back(Part {
            number,
            good: 0,
            bad: 0,
        });
    }
    if let Some(part) = parts.back_mut() {
        let counter = if verdict == Verdict::Bad {
            &mut part.bad
        } else {
            &mut part.good
        };
        *counter = counter.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn circuit() -> Circuit {
        Circuit::new(BreakerConfig {
            failure_rate: 0.5,
            min_calls: 4,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(5),
            half_open_calls: 3,
        })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn attempt(circuit: &mut Circuit, verdict: Verdict, seconds: u64) {
        let admitted = circuit.admit(at(seconds)).unwrap();
        circuit.record(admitted, verdict, at(seconds));
    }

    fn opened() -> Circuit {
        let mut circuit = circuit();
        for _ in 0..4 {
            attempt(&mut circuit, Verdict::Bad, 0);
        }
        assert_eq!(circuit.state(), CircuitState::Open);
        circuit
    }

    #[test]
    fn it_opens_by_the_share_of_failures_among_enough_attempts() {
        use Verdict::{Bad, Good, Neither};
        for (verdicts, expected) in [
            (&[Bad, Bad, Bad][..], CircuitState::Closed),
            (&[Bad, Bad, Bad, Bad], CircuitState::Open),
            (&[Good, Good, Bad, Bad], CircuitState::Open),
            (&[Good, Good, Good, Bad, Bad], CircuitState::Closed),
            (&[Bad, Bad, Neither, Neither, Neither], CircuitState::Closed),
            (&[Bad, Bad, Good, Good], CircuitState::Closed),
        ] {
            let mut circuit = circuit();
            for verdict in verdicts {
                attempt(&mut circuit, *verdict, 0);
            }
            assert_eq!(circuit.state(), expected, "{verdicts:?}");
        }
    }

    #[test]
    fn attempts_are_forgotten_after_the_window() {
        let mut circuit = circuit();
        for second in [0, 0, 0, 11, 11, 11] {
            attempt(&mut circuit, Verdict::Bad, second);
        }
        assert_eq!(circuit.state(), CircuitState::Closed);
        attempt(&mut circuit, Verdict::Bad, 12);
        assert_eq!(circuit.state(), CircuitState::Open);
    }

    #[test]
    fn probes_decide() {
        let mut circuit = opened();
        assert_eq!(circuit.admit(at(0)), Err(at(5)));
        assert_eq!(circuit.admit(at(4)), Err(at(1)));
        let probes: Vec<_> = (0..3).map(|_| circuit.admit(at(5)).unwrap()).collect();
        assert!(probes.iter().all(|probe| probe.is_probe));
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        assert_eq!(circuit.admit(at(5)), Err(at(1)), "others are answered as before");
        circuit.record(probes[0], Verdict::Good, at(6));
        assert!(circuit.admit(at(6)).is_err(), "no fourth probe");
        circuit.record(probes[1], Verdict::Neither, at(6));
        let again = circuit.admit(at(6)).unwrap();
        circuit.record(again, Verdict::Good, at(6));
        circuit.record(probes[2], Verdict::Good, at(7));
        assert_eq!(circuit.state(), CircuitState::Closed);
        attempt(&mut circuit, Verdict::Bad, 7);
        assert_eq!(circuit.state(), CircuitState::Closed, "it begins anew");
    }

    #[test]
    fn one_bad_probe_opens_again_and_late_outcomes_say_nothing() {
        let mut circuit = circuit();
        let late = circuit.admit(at(0)).unwrap();
        for _ in 0..4 {
            attempt(&mut circuit, Verdict::Bad, 0);
        }
        let (good, bad) = (circuit.admit(at(5)).unwrap(), circuit.admit(at(5)).unwrap());
        circuit.record(late, Verdict::Bad, at(5));
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        circuit.record(bad, Verdict::Bad, at(6));
        assert_eq!(circuit.state(), CircuitState::Open);
        circuit.record(good, Verdict::Good, at(6));
        assert_eq!(circuit.admit(at(10)), Err(at(1)));
        assert!(circuit.admit(at(11)).is_ok());
    }

    proptest! {
        #[test]
        fn while_it_is_open_nothing_passes_and_probes_are_few(
            steps in proptest::collection::vec((0u64..4, 0u8..3), 1..200),
        ) {
            let mut circuit = circuit();
            let mut now = 0;
            let mut opened_at: Option<u64> = None;
            for (wait, verdict) in steps {
                now += wait;
                match circuit.admit(at(now)) {
                    Err(_) => prop_assert!(opened_at.is_some_and(|opened| now < opened + 5)),
                    Ok(admitted) => {
                        prop_assert!(opened_at.is_none_or(|opened| now >= opened + 5));
                        let verdict = [Verdict::Good, Verdict::Bad, Verdict::Neither][usize::from(verdict)];
                        circuit.record(admitted, verdict, at(now));
                        match circuit.state() {
                            CircuitState::Open => opened_at = Some(now),
                            CircuitState::Closed => opened_at = None,
                            CircuitState::HalfOpen => {}
                        }
                    }
                }
            }
        }
    }
}
