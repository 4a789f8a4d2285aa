//! Who gets a place, who waits, and who is refused.

use super::*;

const MOMENT: Duration = Duration::from_millis(10);
const FOR_EVER: Duration = Duration::from_secs(3600);
const ROOM: Room =
    Room { places: 1, line: 8, crowd: Duration::ZERO, moment: MOMENT, patience: Duration::from_millis(500) };

fn open(room: Room) -> Bulkhead {
    Bulkhead::new("test", room, &Refusals::default())
}

/// Where nobody is refused before the end of its patience.
fn patient() -> Bulkhead {
    Bulkhead::new("test", ROOM, &Refusals::none())
}

async fn soon<T>(outcome: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), outcome).await.expect("for ever")
}

#[tokio::test]
async fn what_finds_no_place_is_refused_after_a_moment_and_a_place_that_was_left_is_free() {
    let bulkhead = open(Room { places: 2, patience: FOR_EVER, ..ROOM });
    let first = bulkhead.enter().await.unwrap();
    let _second = bulkhead.enter().await.unwrap();
    assert!(soon(bulkhead.enter()).await.is_err());
    assert_eq!(bulkhead.in_flight(), 2, "refusals take nothing");
    drop(first);
    assert!(bulkhead.try_enter().is_some());
}

#[tokio::test]
async fn those_who_wait_get_the_places_that_others_leave_in_their_order() {
    let bulkhead = patient();
    let held = bulkhead.enter().await.unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    let waiter = async |number: u32| {
        let _place = bulkhead.enter().await.unwrap();
        order.lock().unwrap().push(number);
        tokio::task::yield_now().await;
    };
    let leave = async {
        assert!(bulkhead.try_enter().is_none());
        drop(held);
        assert!(bulkhead.try_enter().is_none(), "nobody goes first who has not waited");
    };
    tokio::join!(waiter(1), waiter(2), waiter(3), leave);
    assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    assert_eq!((bulkhead.in_flight(), bulkhead.0.waiting.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn who_cannot_be_refused_waits_on_but_not_for_ever() {
    let bulkhead = patient();
    let held = bulkhead.enter().await.unwrap();
    let (served, ()) = tokio::join!(bulkhead.enter(), async {
        tokio::time::sleep(10 * MOMENT).await;
        drop(held);
    });
    let _held = served.unwrap();
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let bulkhead = bulkhead.clone();
        crowd.spawn(async move { bulkhead.enter().await.is_err() });
    }
    assert!(crowd.join_all().await.into_iter().all(|refused| refused));
    assert_eq!((bulkhead.in_flight(), bulkhead.0.waiting.load(Ordering::Relaxed)), (1, 0));
}

#[tokio::test]
async fn a_full_line_refuses_at_once() {
    let room = Room { line: 1, ..ROOM };
    let bulkhead = Bulkhead::new("test", room, &Refusals::none());
    let held = bulkhead.enter().await.unwrap();
    let mut waiting = Box::pin(bulkhead.enter());
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let refused = futures_util::FutureExt::now_or_never(bulkhead.enter());
    assert!(refused.unwrap().is_err());
    drop(held);
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn in_a_long_line_those_who_can_be_refused_are_refused_at_once() {
    for (refusals, told_at_once) in [(Refusals::default(), true), (Refusals::none(), false)] {
        let bulkhead = Bulkhead::new("test", ROOM, &refusals);
        let _held = bulkhead.enter().await.unwrap();
        let mut first = Box::pin(bulkhead.enter());
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        let second = futures_util::FutureExt::now_or_never(bulkhead.enter());
        assert_eq!(second.is_some_and(|outcome| outcome.is_err()), told_at_once);
    }
}

#[tokio::test]
async fn nobody_is_refused_from_a_crowd_that_has_just_come() {
    let bulkhead = open(Room { crowd: FOR_EVER, patience: FOR_EVER, ..ROOM });
    let held = bulkhead.enter().await.unwrap();
    let waiting: tokio::task::JoinSet<_> = (0..8)
        .map(|_| {
            let bulkhead = bulkhead.clone();
            async move { bulkhead.enter().await.is_ok() }
        })
        .collect();
    tokio::time::sleep(5 * MOMENT).await;
    assert_eq!(bulkhead.0.waiting.load(Ordering::Relaxed), 8);
    drop(held);
    assert_eq!(soon(waiting.join_all()).await, [true; 8]);
}

#[tokio::test]
async fn a_line_that_has_fallen_behind_refuses_and_is_up_to_date_again_when_places_were_free() {
    let crowd = 5 * MOMENT;
    let bulkhead = open(Room { crowd, patience: FOR_EVER, ..ROOM });
    let held = bulkhead.enter().await.unwrap();
    let begun = Instant::now();
    assert!(soon(bulkhead.enter()).await.is_err(), "the line stands");
    assert!(begun.elapsed() >= crowd);
    let behind = || bulkhead.0.behind() >= crowd;
    assert!(behind());
    drop(held);
    let _held = bulkhead.try_enter().unwrap();
    assert!(!behind());
}

#[tokio::test]
async fn who_has_waited_for_long_is_not_refused_while_the_line_moves() {
    let crowd = Duration::from_secs(2);
    let bulkhead = open(Room { crowd, patience: FOR_EVER, ..ROOM });
    let held = bulkhead.enter().await.unwrap();
    let (first, second, ()) = tokio::join!(
        async {
            let place = bulkhead.enter().await;
            tokio::time::sleep(crowd + 5 * MOMENT).await;
            place.is_ok()
        },
        bulkhead.enter(),
        async {
            tokio::time::sleep(5 * MOMENT).await;
            drop(held);
        }
    );
    assert!(first && second.is_ok());
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_the_place_to_the_next() {
    let bulkhead = patient();
    let held = bulkhead.enter().await.unwrap();
    let mut impatient = Box::pin(bulkhead.enter());
    assert!(futures_util::poll!(impatient.as_mut()).is_pending());
    let mut next = Box::pin(bulkhead.enter());
    assert!(futures_util::poll!(next.as_mut()).is_pending());
    drop(held);
    drop(impatient);
    assert!(next.await.is_ok());
    assert_eq!((bulkhead.in_flight(), bulkhead.0.waiting.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn the_reserve_is_for_those_alone_who_may_go_beyond_the_limit() {
    let bulkhead = open(ROOM);
    let _ordinary = bulkhead.enter().await.unwrap();
    let reserved = bulkhead.try_enter_beyond(1).unwrap();
    assert!(bulkhead.try_enter_beyond(1).is_none());
    drop(reserved);
    assert!(bulkhead.enter().await.is_err(), "the limit is as it was");
    assert_eq!(bulkhead.in_flight(), 1);
}

#[tokio::test]
async fn a_lent_place_is_free_to_others_and_comes_back_when_there_is_room() {
    let bulkhead = open(ROOM);
    let mine = bulkhead.enter().await.unwrap();
    let lent = bulkhead.lend();
    let other = bulkhead.enter().await.unwrap();
    assert!(lent.take_back().await.is_err(), "somebody else has it");
    drop((mine, other));
    assert_eq!(bulkhead.in_flight(), 0);

    let mine = bulkhead.enter().await.unwrap();
    assert!(bulkhead.lend().take_back().await.is_ok());
    assert_eq!(bulkhead.in_flight(), 1);
    drop(bulkhead.lend());
    drop(mine);
    assert_eq!(bulkhead.in_flight(), 0, "a wait that was given up costs nothing");
}

#[test]
fn threads_that_crowd_in_and_out_leave_it_empty() {
    let bulkhead = open(Room { places: 3, ..ROOM });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    drop(bulkhead.try_enter());
                }
            });
        }
    });
    assert_eq!(bulkhead.in_flight(), 0);
}
