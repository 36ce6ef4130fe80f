//! Sweeps and quick polls of a server in memory, which changes between two commands.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::listing::MAX_ID_SCAN;
use super::*;
use crate::failure::Reason;
use crate::sample::SampleCondition;
use crate::sampler::Sampler;
use crate::sampler::scripted::{Asked, ScriptedServer, Shared};

/// A budget that a full listing of a few hundred clients exceeds, and pages of a hundred ids do not.
fn budget() -> Budget {
    Budget {
        max_stall: Duration::from_micros(200),
        max_load: 1.0,
        max_age: Duration::from_secs(60),
        interval: Duration::from_secs(10),
        quick_poll: None,
    }
}

/// The ids of a sample in its order, each of them once.
fn ids(sample: &Sample) -> BTreeSet<u64> {
    let pages = sample.clients.as_ref().expect("the clients were listed");
    let ids: Vec<u64> = pages.clients().filter_map(|(_, client)| client.id()).collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "a client is listed twice: {ids:?}");
    distinct
}

async fn sample(sampler: &mut Sampler) -> Sample {
    sampler.sample().await.expect("a sample")
}

/// Sets what happens before each page; its number begins with 0.
fn before_each_page(server: &Shared, mut change: impl FnMut(&mut ScriptedServer, usize, &[u64]) + Send + 'static) {
    let mut pages = 0;
    server.lock().change = Box::new(move |server, asked| {
        if let Asked::Ids(ids) = asked {
            change(server, pages, ids);
            pages += 1;
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closed_before_its_page_is_missing_and_one_that_closed_after_it_is_listed() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    before_each_page(&server, |server, page, ids| {
        if page == 3 {
            // One that was listed in an earlier page, one of this page, and one of a later page.
            let last = ids.last().copied().expect("a page has ids");
            for id in [4, last, last + 50] {
                assert!(server.clients.remove(&id).is_some(), "{id} is connected");
            }
        }
    });
    let before = server.connected();
    let first = sample(&mut sampler).await;
    let missing: Vec<u64> = before.difference(&ids(&first)).copied().collect();
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert_eq!(missing[1] - missing[0], 50);
    assert!(first.cost.pages > 8 && server.full_listings() == 0, "{:?}", first.cost);
    // Only the next sweep still asks for one that closed after it.
    server.lock().clients.remove(&20);
    let mut asked = async || {
        let pages = server.pages().len();
        sample(&mut sampler).await;
        server.pages().into_iter().skip(pages).flatten().collect::<BTreeSet<u64>>()
    };
    let (second, third) = (asked().await, asked().await);
    assert!(second.is_superset(&[5, 20].into()) && third.contains(&5) && !third.contains(&20));
    assert!(second.is_disjoint(&missing.into_iter().collect()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_connects_during_the_sweep_is_in_the_sample() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    before_each_page(&server, |server, page, _| {
        if page < 9 {
            server.open();
        }
    });
    let first = sample(&mut sampler).await;
    assert_eq!((ids(&first), ids(&first).len()), (server.connected(), 510));
    assert_eq!(first.cost.drift, Some(0));
    server.open(1);
    let second = sample(&mut sampler).await;
    assert_eq!((ids(&second), server.full_listings()), (server.connected(), 0));
}

#[tokio::test(start_paused = true)]
async fn no_time_of_a_sample_depends_on_the_servers_clock() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    let hours = |hours| SignedDuration::from_hours(hours);
    // Right, ahead, far ahead, and set back.
    for difference in [hours(0), hours(2), hours(24 * 365), hours(-2)] {
        server.lock().clock_difference = difference;
        let before = clock::now();
        let sample = sample(&mut sampler).await;
        let after = clock::now();
        let pages = sample.clients.as_ref().expect("the clients were listed");
        for at in pages.clients().map(|(at, _)| at).chain([sample.at]) {
            assert!(before <= at && at <= after, "{at} at a difference of {difference}");
        }
        let error = sample.clock_difference.expect("INFO has the clock") - difference;
        assert!(error.abs() <= after.duration_since(before), "{error}");
    }
}

#[test]
fn half_the_round_trip_is_no_difference_of_clocks() {
    let clock = Clock { at: Timestamp::from_second(1_767_225_600).expect("a time"), read: Instant::now() };
    let difference = |seconds| {
        let round_trip = Duration::from_secs(seconds);
        clock.difference(clock.at.as_microsecond(), round_trip).expect("a time")
    };
    let before = Instant::now();
    let moved = difference(4) - difference(0);
    // The clock goes on while the test runs.
    let elapsed = SignedDuration::try_from(before.elapsed()).expect("a duration");
    let half = SignedDuration::from_secs(2);
    assert!(half <= moved && moved <= half + elapsed, "{moved}");
    assert_eq!(clock.difference(i64::MAX, Duration::ZERO), None, "not a time");
}

/// Servers give an id to a connection before they count it, and others connect at the same time as we do.
#[tokio::test(start_paused = true)]
async fn a_client_that_connects_right_after_our_link_is_in_the_first_sample() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    server.open(1);
    assert_eq!(ids(&sample(&mut sampler).await), server.connected());
}

#[tokio::test(start_paused = true)]
async fn after_a_reset_of_the_counter_the_next_sample_is_a_full_listing() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    sample(&mut sampler).await;
    // CONFIG RESETSTAT, and clients that connect after it.
    server.lock().received = 0;
    server.open(40);
    // No other connection is accepted, so the bound stays unknown, and listings stay full.
    for number in 0..3 {
        let full = sample(&mut sampler).await;
        assert_eq!((full.cost.pages, ids(&full)), (0, server.connected()));
        assert_eq!(full.conditions.has(SampleCondition::CountersReset), number == 0, "{:?}", full.conditions);
        server.open(1);
    }
    assert_eq!(server.full_listings(), 3);
}

/// Redis Enterprise, Azure Managed Redis and Tair compose ids from those of several proxies.
#[tokio::test(start_paused = true)]
async fn ids_above_ours_are_listed_in_the_first_sample() {
    let server = Shared::with_clients(20);
    let mut sampler = server.sampler(budget()).await;
    for id in 0..805 {
        server.lock().open_as(1_000_000 + 7919 * id);
    }
    for id in [500, 400] {
        let sample = sample(&mut sampler).await;
        assert_eq!(ids(&sample), server.connected());
        assert!(sample.conditions.iter().eq([SampleCondition::IdsUnordered]), "{:?}", sample.conditions);
        server.lock().open_as(id);
        let polled = sampler.quick_poll().await.expect("an answer");
        assert!(polled.sample_early, "a new client cannot be listed by its id");
    }
    assert_eq!(server.full_listings(), 2);
}

/// The first listing is in full, because our own id is high.
#[tokio::test(start_paused = true)]
async fn ids_above_ours_show_in_a_full_listing_that_they_are_in_no_order() {
    let server = Shared::with_clients(500);
    server.lock().last_id = 2 * MAX_ID_SCAN;
    let mut sampler = server.sampler(budget()).await;
    for id in 0..100 {
        server.lock().open_as(1_000_000_000 - 7919 * id);
    }
    let sample = sample(&mut sampler).await;
    assert_eq!(ids(&sample), server.connected());
    assert!(sample.conditions.has(SampleCondition::IdsUnordered));
}

#[tokio::test(start_paused = true)]
async fn a_new_client_with_a_low_id_is_in_the_next_sample_and_the_quick_poll_asks_for_it() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    server.lock().clients.remove(&77);
    sample(&mut sampler).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    server.lock().open_as(77);
    assert!(sampler.quick_poll().await.expect("an answer").sample_early);
    let found = sample(&mut sampler).await;
    assert_eq!(ids(&found), server.connected());
    assert!(found.conditions.has(SampleCondition::IdsUnordered), "{:?}", found.conditions);
    // From then on each sample is a full listing.
    server.lock().open_as(1);
    assert_eq!(ids(&sample(&mut sampler).await), server.connected());
    assert_eq!(server.full_listings(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_know_ids_in_the_request_is_listed_in_full() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    server.lock().ignores_ids = true;
    let sample = sample(&mut sampler).await;
    assert_eq!(ids(&sample), server.connected());
    assert_eq!((server.pages().len(), server.full_listings()), (1, 1));
    assert!(sample.conditions.has(SampleCondition::IdsUnordered));
}

#[tokio::test(start_paused = true)]
async fn connections_that_only_info_counts_make_the_sample_incomplete_and_few_full_listings() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    server.lock().hidden = 40;
    for _ in 0..60 {
        let sample = sample(&mut sampler).await;
        assert_eq!((ids(&sample), sample.cost.drift), (server.connected(), Some(40)));
        assert!(sample.conditions.iter().eq([SampleCondition::CountsDiffer]), "{:?}", sample.conditions);
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    // After 0, 30, 90, 210 and 450 seconds, and no more than every 300.
    assert_eq!(server.full_listings(), 5);
    server.lock().hidden = 0;
    assert_eq!(sample(&mut sampler).await.conditions, SampleConditions::default());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_list_by_id_is_listed_in_full_and_not_asked_again() {
    for error in ["ERR syntax error", "NOPERM this user has no permissions", "ERR unknown subcommand or wrong number"] {
        let server = Shared::with_clients(500);
        let mut sampler = server.sampler(budget()).await;
        server.lock().refuses = match error {
            "ERR syntax error" => |asked| matches!(asked, Asked::Ids(_)).then_some("ERR syntax error"),
            "NOPERM this user has no permissions" => |asked| matches!(asked, Asked::Ids(_)).then_some("NOPERM no"),
            _ => |asked| matches!(asked, Asked::Ids(_)).then_some("ERR unknown subcommand or wrong number"),
        };
        for _ in 0..3 {
            let sample = sample(&mut sampler).await;
            assert_eq!((sample.cost.pages, ids(&sample)), (0, server.connected()), "{error}");
            server.open(1);
        }
        assert_eq!((server.pages().len(), server.full_listings()), (1, 3), "{error}");
        assert!(sampler.no_pages().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_loading_is_not_taken_for_one_that_cannot_list_by_id() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    server.lock().refuses = |asked| matches!(asked, Asked::Ids(_)).then_some("LOADING Redis is loading");
    let failure = sampler.sample().await.map(|_| ()).expect_err("it is loading");
    assert_eq!(failure.reason, Reason::Loading);
    assert!(sampler.no_pages().is_none() && server.full_listings() == 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_info_or_of_the_list_gives_half_a_sample_and_of_both_a_failure() {
    let server = Shared::with_clients(50);
    let mut sampler = server.sampler(budget()).await;
    server.lock().refuses = |asked| matches!(asked, Asked::Info(_)).then_some("NOPERM no");
    let without_info = sample(&mut sampler).await;
    assert_eq!(without_info.info.as_ref().map_err(|failure| failure.reason), Err(Reason::NoPermission));
    assert_eq!((ids(&without_info), without_info.cost.drift), (server.connected(), None));
    assert_eq!(without_info.cost.within_budget, None, "no cost was measured");

    server.lock().refuses = |asked| (!matches!(asked, Asked::Info(_))).then_some("NOPERM no");
    let without_list = sample(&mut sampler).await;
    assert_eq!(without_list.clients.as_ref().map_err(|failure| failure.reason).err(), Some(Reason::NoPermission));
    assert_eq!(without_list.info.as_ref().map(|info| info.connected_clients), Ok(Some(51)));

    server.lock().refuses = |asked| Some(if matches!(asked, Asked::Info(_)) { "NOPERM no" } else { "ERR no list" });
    let failure = sampler.sample().await.map(|_| ()).expect_err("both are refused");
    assert!(failure.reason == Reason::Other && failure.message.contains("CLIENT LIST"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_too_expensive_are_replaced_by_one_full_listing() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    server.lock().page_micros = 30_000;
    let sample = sample(&mut sampler).await;
    assert_eq!((ids(&sample), sample.cost.pages), (server.connected(), 0));
    // Without the first pages, the cost would not be known.
    assert!((8..12).contains(&server.pages().len()), "{}", server.pages().len());
    assert_eq!(server.full_listings(), 1);
}

#[tokio::test(start_paused = true)]
async fn pages_grow_by_a_limited_ratio_up_to_the_planned_size() {
    let server = Shared::with_clients(12_000);
    let max_stall = Duration::from_millis(4);
    // Only large pages are cheap.
    server.lock().page_micros = 1000;
    let mut sampler = server.sampler(Budget { max_stall, ..budget() }).await;
    for _ in 0..3 {
        let sample = sample(&mut sampler).await;
        assert_eq!(ids(&sample), server.connected());
    }
    let sizes: Vec<usize> = server.pages().iter().map(|page| page.len()).collect();
    let mut largest = 0;
    for (number, &size) in sizes.iter().enumerate() {
        // The first pages are probes of two fixed sizes.
        let allowed = if number < 8 { 64 } else { 2 * largest };
        assert!(size <= allowed, "page {number} of {size} after {largest}: {sizes:?}");
        largest = largest.max(size);
    }
    assert!((1000..3000).contains(&largest), "{largest}: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_sweep_tries_all_ids_up_to_a_limit() {
    for (own_id, full_listings) in [(MAX_ID_SCAN, 0), (MAX_ID_SCAN + 1, 1)] {
        let server = Shared::with_clients(500);
        server.lock().last_id = own_id - 1;
        let mut sampler = server.sampler(budget()).await;
        assert!(server.connected().contains(&own_id));
        let sample = sample(&mut sampler).await;
        assert_eq!((ids(&sample), server.full_listings()), (server.connected(), full_listings));
    }
}

#[tokio::test(start_paused = true)]
async fn a_quick_poll_adds_new_clients_and_reports_closed_ones() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    let first = sample(&mut sampler).await;
    let quiet = sampler.quick_poll().await.expect("an answer");
    assert!(quiet.sample.is_none() && !quiet.sample_early);
    // The time of quick polls is limited, and the first has only just begun.
    tokio::time::advance(Duration::from_secs(5)).await;
    let new = server.lock().open();
    let polled = sampler.quick_poll().await.expect("an answer");
    let with_new = polled.sample.expect("a sample with the new client");
    assert!(ids(&with_new).contains(&new) && ids(&with_new).len() == ids(&first).len() + 1 && !polled.sample_early);
    assert_eq!(with_new.info.as_ref().map(|info| info.connected_clients), Ok(Some(502)));
    tokio::time::advance(Duration::from_secs(5)).await;
    let newer = server.lock().open();
    let with_both = sampler.quick_poll().await.expect("an answer").sample.expect("a sample with both new clients");
    assert!(ids(&with_both).is_superset(&[new, newer].into()) && ids(&with_both).len() == ids(&first).len() + 2);
    server.lock().clients.remove(&7);
    assert!(sampler.quick_poll().await.expect("an answer").sample_early);
}

#[tokio::test(start_paused = true)]
async fn a_quick_poll_leaves_many_new_clients_to_the_next_sweep() {
    let server = Shared::with_clients(500);
    let mut sampler = server.sampler(budget()).await;
    sample(&mut sampler).await;
    server.open(1000);
    let polled = sampler.quick_poll().await.expect("an answer");
    assert!(polled.sample.is_none() && polled.sample_early);
    assert_eq!(ids(&sample(&mut sampler).await), server.connected());
}

/// A change of the server before a command.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Opens(u8),
    /// A client connects and closes before it can be listed.
    Flickers,
    /// The client at this place of all closes, in 1/256.
    Closes(u8),
    /// A connection takes an id and is not counted.
    TakesAnId,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        6 => Just(Between::Nothing),
        3 => (1_u8..9).prop_map(Between::Opens),
        1 => Just(Between::Flickers),
        3 => any::<u8>().prop_map(Between::Closes),
        1 => Just(Between::TakesAnId),
    ]
}

impl Between {
    fn happen(self, server: &mut ScriptedServer) {
        match self {
            Between::Nothing => {}
            Between::Opens(count) => {
                for _ in 0..count {
                    server.open();
                }
            }
            Between::Flickers => {
                let id = server.open();
                server.clients.remove(&id);
            }
            Between::Closes(place) => {
                let place = server.clients.len() * usize::from(place) / 256;
                if let Some(id) = server.clients.keys().nth(place).copied() {
                    server.clients.remove(&id);
                }
            }
            Between::TakesAnId => server.last_id += 1,
        }
    }
}

/// Takes samples while clients come and go. Checks each sample against the clients that were connected before each of
/// the commands.
async fn sweep_while_changing(clients: u64, changes: Vec<Between>, samples: usize) -> Result<(), TestCaseError> {
    let server = Shared::with_clients(clients);
    let mut sampler = server.sampler(budget()).await;
    let (sender, receiver) = std::sync::mpsc::channel::<(Asked, BTreeSet<u64>)>();
    let mut changes = changes.into_iter();
    server.lock().change = Box::new(move |server, asked| {
        if let Some(change) = changes.next() {
            change.happen(server);
        }
        // The test may have ended.
        let _ = sender.send((asked.clone(), server.clients.keys().copied().collect()));
    });
    for _ in 0..samples {
        let found = ids(&sample(&mut sampler).await);
        let steps: Vec<_> = receiver.try_iter().collect();
        let is_counter = |(asked, _): &(Asked, BTreeSet<u64>)| *asked == Asked::Info("stats".into());
        let counted = steps.iter().rposition(is_counter).expect("the counter is read at the end");
        let mut ever = BTreeSet::new();
        let mut always = steps[counted].1.clone();
        for (_, connected) in &steps {
            ever.extend(connected.iter().copied());
        }
        for (_, connected) in &steps[counted..] {
            always.retain(|id| connected.contains(id));
        }
        let lost: Vec<_> = always.difference(&found).collect();
        prop_assert!(lost.is_empty(), "not listed: {lost:?}");
        let invented: Vec<_> = found.difference(&ever).collect();
        prop_assert!(invented.is_empty(), "listed after they closed: {invented:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Those that are connected from the last reading of the counter to the end of the sample are all in it, once, and
    /// no client that was not connected while it was taken.
    #[test]
    fn each_client_is_listed_once_while_others_come_and_go(
        clients in 150_u64..500,
        changes in vec(between(), 0..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(sweep_while_changing(clients, changes, 4))?;
    }
}
