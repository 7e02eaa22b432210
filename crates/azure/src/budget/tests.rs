use super::*;
use base::clock::{Clock as _, ManualClock};

fn budget(count: u32, queue: usize) -> (Arc<Budget>, Arc<ManualClock>) {
    let clock = ManualClock::at("2026-11-30T12:00:00Z".parse().unwrap());
    let settings = BudgetSettings {
        rate: Rate {
            count,
            window: Duration::from_secs(30),
        },
        queue,
        renewal_share: 0.5,
    };
    (Budget::new(settings, Arc::clone(&clock) as SharedClock), clock)
}

fn send(place: Option<Place>) {
    place.unwrap().set_sent(true);
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn later(turn: Result<Turn, NoPlace>) -> oneshot::Receiver<Result<Place, Withheld>> {
    match turn {
        Ok(Turn::Later(turn)) => turn,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn places_go_in_the_order_of_arrival_and_a_window_later() {
    let (budget, clock) = budget(2, 10);
    send(budget.try_acquire());
    clock.advance(Duration::from_secs(10));
    send(budget.try_acquire());
    assert!(budget.try_acquire().is_none());
    let mut first = later(budget.acquire(in_seconds(60)));
    let mut second = later(budget.acquire(in_seconds(60)));
    assert_eq!(budget.status().waiting, 2);
    clock.advance(Duration::from_secs(20));
    let place = (&mut first).await.unwrap().unwrap();
    assert!(second.try_recv().is_err());
    assert!(budget.try_acquire().is_none(), "nobody goes before those who wait");
    // A place that is given back is the next one's at once.
    drop(place);
    send(Some(second.await.unwrap().unwrap()));
    assert_eq!(
        budget.status(),
        BudgetStatus {
            free: 0,
            limit: 2.0,
            waiting: 0
        }
    );
    clock.advance(Duration::from_secs(30));
    assert_eq!(budget.status().free, 2);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_told_when_to_come_back() {
    let (budget, _clock) = budget(1, 1);
    send(budget.try_acquire());
    let secs = |refused: Result<Turn, NoPlace>| match refused {
        Err(NoPlace::TooLate(wait) | NoPlace::QueueFull(wait)) => wait.as_secs(),
        other => panic!("{other:?}"),
    };
    // A second is left to be of use.
    assert!((30..=45).contains(&secs(budget.acquire(in_seconds(30)))));
    let waiting = later(budget.acquire(in_seconds(31)));
    let refused = budget.acquire(in_seconds(600));
    assert!(matches!(refused, Err(NoPlace::QueueFull(_))), "{refused:?}");
    assert!((60..=90).contains(&secs(refused)));
    drop(waiting);
    later(budget.acquire(in_seconds(31)));
}

#[tokio::test(start_paused = true)]
async fn those_who_have_gone_hold_no_place() {
    let (budget, clock) = budget(1, 10);
    send(budget.try_acquire());
    let gone = later(budget.acquire(in_seconds(60)));
    let stays = later(budget.acquire(in_seconds(120)));
    drop(gone);
    assert_eq!(budget.status().waiting, 1);
    clock.advance(Duration::from_secs(30));
    assert!(stays.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn renewals_leave_a_part_to_others_and_never_wait() {
    let (budget, clock) = budget(4, 10);
    send(budget.try_acquire_for_renewal());
    send(budget.try_acquire_for_renewal());
    assert!(budget.try_acquire_for_renewal().is_none());
    send(budget.try_acquire());
    clock.advance(Duration::from_secs(30));
    assert!(budget.try_acquire_for_renewal().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_pause_answers_those_who_wait_and_halves_once() {
    let (budget, clock) = budget(10, 10);
    for _ in 0..10 {
        send(budget.try_acquire());
    }
    let waiting = later(budget.acquire(in_seconds(60)));
    let until = clock.monotonic() + Duration::from_secs(7);
    budget.pause(true, until);
    budget.pause(false, until + Duration::from_secs(1));
    assert_eq!(
        waiting.await.unwrap().unwrap_err(),
        Withheld::Paused(Duration::from_secs(7))
    );
    assert!((budget.status().limit - 5.0).abs() < 1e-9);
    clock.advance(Duration::from_secs(37));
    assert!((budget.status().limit - 5.0).abs() < 1e-9, "the longer pause counts");
    clock.advance(Duration::from_secs(1));
    assert!((budget.status().limit - 6.0).abs() < 1e-9);
}
