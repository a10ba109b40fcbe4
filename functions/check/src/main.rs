//! The `check` Lambda.

use std::sync::Arc;
use std::time::Duration;

use lambda_http::{Error, Request, run, service_fn};
use tidegate_engine::token::TokenKeys;
use tidegate_http::check_service::{CATALOG_AGE_MS, CheckService, LONGEST_POLL_S};
use tidegate_http::edge::now;
use tidegate_http::log::start_function_log;
use tidegate_store::DynamoStore;
use tidegate_store::settings::{Settings, sdk_config, token_keys};

/// The longest time for which a start waits for the catalogs. Lambda gives a start ten seconds.
const LONGEST_WARM_UP: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_function_log();
    let service = Arc::new(service().await?);
    run(service_fn(|request: Request| {
        let service = service.clone();
        async move { Ok::<_, std::convert::Infallible>(service.handle(request, now()).await) }
    }))
    .await
}

async fn service() -> Result<CheckService<DynamoStore>, Error> {
    let config = sdk_config().await;
    let settings = Settings::from_env()?;
    let (keys, (store, images)) = tokio::try_join!(token_keys(&config), settings.open(&config))?;
    let service = CheckService::new(store, images, TokenKeys::parse(&keys)?, CATALOG_AGE_MS);
    let service = service.with_long_poll(longest_poll_s()?);
    if tokio::time::timeout(LONGEST_WARM_UP, service.warm_up(now())).await.is_err() {
        tracing::warn!("not_warm_in_time");
    }
    Ok(service)
}

/// `TIDEGATE_LONGEST_POLL_S`: the longest time for which a request may wait, in seconds; 0 if it is not set.
fn longest_poll_s() -> Result<u32, String> {
    match std::env::var("TIDEGATE_LONGEST_POLL_S") {
        Err(_) => Ok(0),
        Ok(text) => {
            text.trim().parse().ok().filter(|seconds| *seconds <= LONGEST_POLL_S).ok_or_else(|| {
                format!("TIDEGATE_LONGEST_POLL_S must be a number of seconds from 0 to {LONGEST_POLL_S}")
            })
        }
    }
}
