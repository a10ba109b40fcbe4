//! The `sweep` Lambda: a schedule starts it.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_engine::SweepService;
use tidegate_http::edge::now;
use tidegate_http::log::start_function_log;
use tidegate_store::settings::{Settings, sdk_config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_function_log();
    let (store, _) = Settings::from_env()?.open(&sdk_config().await).await?;
    let service = Arc::new(SweepService::new(store));
    run(service_fn(|_event: LambdaEvent<Value>| {
        let service = service.clone();
        async move { service.sweep(now()).await.map_err(Error::from) }
    }))
    .await
}
