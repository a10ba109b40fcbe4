//! The `sweep` Lambda: an event function, started by a schedule.

use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    tidegate_api::edge::start_function_log();
    let service = tidegate_sweep::from_env().await?;
    run(service_fn(|_event: LambdaEvent<Value>| {
        let service = service.clone();
        async move { service.sweep(tidegate_api::edge::now()).await.map_err(lambda_runtime::Error::from) }
    }))
    .await
}
