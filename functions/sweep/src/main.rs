//! The `sweep` Lambda: a schedule starts it each minute, and another one each week for a recount.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};
use tidegate_engine::SweepService;
use tidegate_engine::recount::{COUNTED_AFTER, recount};
use tidegate_http::edge::now;
use tidegate_http::log::start_function_log;
use tidegate_store::settings::{Settings, sdk_config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_function_log();
    let (store, _) = Settings::from_env()?.open(&sdk_config().await).await?;
    let service = Arc::new(SweepService::new(store.clone()));
    run(service_fn(|event: LambdaEvent<Value>| {
        let (service, store) = (service.clone(), store.clone());
        async move {
            match event.payload["recount"] == json!(true) {
                true => Ok::<_, Error>(serde_json::to_value(recount(&store, COUNTED_AFTER).await?)?),
                false => Ok(serde_json::to_value(service.sweep(now()).await?)?),
            }
        }
    }))
    .await
}
