//! Places that nobody has set: few at first, then as the audience and the devices that are well allow.

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::{LAMP, World, at, lamp};

/// The devices of a range that are offered 2.0.0 when all of them check in.
async fn offered(world: &World, numbers: std::ops::Range<u32>, now: Timestamp) -> Vec<u32> {
    let mut offered = Vec::new();
    for number in numbers {
        let answer = world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), now).await;
        if answer.body["version"] == "2.0.0" {
            offered.push(number);
        }
    }
    offered
}

async fn places(world: &World, now: Timestamp) -> Value {
    world.metrics("2.0.0", now).await["places"].clone()
}

async fn sweep(world: &World, now: Timestamp) -> u64 {
    world.count_at(now).await;
    world.services.sweep.sweep(now).await.unwrap().split_again
}

#[tokio::test(flavor = "multi_thread")]
async fn places_follow_the_audience_once_it_was_counted() {
    let world = World::new(0).await;
    world.publish(LAMP, "1.0.0", json!({"policy": "false"}), at("2026-01-01T00:00:00Z")).await;
    for number in 0..300 {
        world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), at("2026-01-01T01:00:00Z")).await;
    }
    world.publish(LAMP, "2.0.0", json!({}), at("2026-01-01T02:00:00Z")).await;
    assert_eq!(places(&world, at("2026-01-01T02:00:00Z")).await, 10, "nobody knows yet how many devices it is for");
    assert_eq!(offered(&world, 0..30, at("2026-01-01T02:01:00Z")).await.len(), 10);
    let mut now = at("2026-01-01T02:02:00Z");
    while places(&world, now).await == 10 {
        now = now.checked_add(jiff::SignedDuration::from_mins(10)).unwrap();
        assert!(now < at("2026-01-01T04:00:00Z"), "within an hour");
        sweep(&world, now).await;
    }
    assert_eq!(places(&world, now).await, 15, "one in twenty of 300");
    assert_eq!(offered(&world, 30..60, now).await.len(), 5);
    assert_eq!(offered(&world, 60..90, now).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_grow_with_devices_that_are_well_for_long_and_not_with_those_that_are_merely_proved() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at("2026-01-01T00:00:00Z")).await;
    // Forty devices in turns of ten, the last ones four days later. All are heard from daily.
    let mut proved = 0;
    for day in 1..=6 {
        for number in 0..proved {
            world.check(&lamp(&format!("lamp-{number}"), "2.0.0"), at(&format!("2026-01-0{day}T00:30:00Z"))).await;
        }
        let turns = match day {
            1 => 3,
            5 => 1,
            _ => 0,
        };
        for turn in 0..turns {
            let now = at(&format!("2026-01-0{day}T0{}:00:00Z", turn + 1));
            let got = offered(&world, proved..proved + 10, now).await;
            assert_eq!(got.len(), 10);
            for number in got {
                world.installs(&format!("lamp-{number}"), "2.0.0", now).await;
            }
            proved += 10;
            world.count_at(now).await;
        }
        if day == 1 {
            let now = at("2026-01-01T06:00:00Z");
            assert_eq!((sweep(&world, now).await, places(&world, now).await), (0, json!(10)));
        }
    }
    let now = at("2026-01-06T01:00:00Z");
    assert_eq!(world.counts("2.0.0", now).await, "40 0 40 0 0");
    assert_eq!(sweep(&world, now).await, 1);
    assert_eq!(places(&world, now).await, 30);
    assert_eq!(offered(&world, 40..80, now).await.len(), 30);
    // A number is a number.
    let edit = json!({"rollout": {"limits": {"max_in_flight": 12}}, "reason": "a test"});
    let path = format!("{LAMP}/updates/2.0.0/campaign");
    assert_eq!(world.operator("PATCH", &path, edit, now).await.status, 200);
    for hour in 2..4 {
        sweep(&world, at(&format!("2026-01-06T0{hour}:00:00Z"))).await;
    }
    assert_eq!(places(&world, at("2026-01-06T04:00:00Z")).await, 0, "more than twelve are in flight: none is given");
}
