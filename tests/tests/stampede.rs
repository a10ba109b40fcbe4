//! A fleet that arrives at once, against a stack of its own.

use tidegate::stack::Stack;
use tidegate_tests::stampede::{self, MAX_IN_FLIGHT, Target};

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_arrives_at_once_over_http_exceeds_no_limit() {
    let stack = Stack::temporary(1000).await.unwrap();
    let target =
        Target { api: stack.door.url(), key: stack.operator_key.expose().to_string(), product: "stampede".into() };
    let seen = tokio::task::spawn_blocking(move || stampede::run(&target)).await.unwrap().unwrap();
    assert_eq!((seen.offered, seen.most_in_flight), (MAX_IN_FLIGHT, MAX_IN_FLIGHT), "{seen:?}");
    assert_eq!(seen.changed_their_answer, 0);
    assert!(seen.looks > 10, "the watcher must have looked on the way: {seen:?}");
    stack.shutdown().await;
}
