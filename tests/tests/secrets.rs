//! Secrets never reach a log: not at the most talkative level, and not in an error.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tidegate_tests::{LAMP, World, answer, lamp, request};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_no_signature_and_no_key_is_ever_logged() {
    let captured = Captured::default();
    let writer = captured.clone();
    // Our own crates at the most talkative level; the SDK's own logs are its business, and off.
    let filter = "off,tidegate=trace,tidegate_wire=trace,tidegate_http=trace,tidegate_engine=trace,tidegate_store=trace,\
                  tidegate_cloud=trace,lambda_http=trace,lambda_runtime=trace";
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let world = World::new(0).await;
    let now = tidegate_http::edge::now();
    world.publish(LAMP, "2.0.0", json!({}), now).await;
    let mut secrets = vec![tidegate_cloud::SECRET_KEY.to_string()];
    for device in ["lamp-1", "lamp-2"] {
        secrets.push(world.token(LAMP, device).rsplit('.').next().unwrap().to_string());
        let offer = world.check(&lamp(device, "1.0.0"), now).await.body;
        let url = offer["url"].as_str().unwrap();
        secrets.push(url.split("X-Amz-Signature=").nth(1).unwrap()[..64].to_string());
        world.report(device, "2.0.0", "INSTALL_SUCCESS", now).await;
    }
    let body = lamp("lamp-1", "1.0.0").to_string();
    let wrong = request("POST", "/v1/check", &[("authorization", "bearer CANARY-IN-A-WRONG-TOKEN")], &body, None);
    assert_eq!(answer(world.services.check.handle(wrong, now).await).status, 401);
    secrets.push("CANARY-IN-A-WRONG-TOKEN".into());
    world.operator("PUT", "lamp/devices/lamp-1/token", json!({}), now).await;
    world.services.sweep.sweep(now).await.unwrap();

    let log = String::from_utf8(captured.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
    assert!(
        log.lines().filter(|line| line.contains("check_in")).count() >= 2,
        "the log must have been captured:\n{log}"
    );
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} was logged");
    }
    let line = log.lines().find(|line| line.contains("\"check_in\"")).unwrap();
    for field in ["lamp-1", "\"version\"", "\"offer\"", "2.0.0"] {
        assert!(line.contains(field), "a decision's line is readable alone: {line}");
    }
}
