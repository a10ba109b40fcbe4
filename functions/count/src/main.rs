//! The `count` Lambda: the table's stream starts it.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};
use tidegate_engine::CountService;
use tidegate_http::edge::now;
use tidegate_http::log::start_function_log;
use tidegate_store::settings::{Settings, sdk_config};
use tidegate_store::stream::Batch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_function_log();
    let (store, _) = Settings::from_env()?.open(&sdk_config().await).await?;
    let service = Arc::new(CountService::new(store));
    run(service_fn(|event: LambdaEvent<Value>| {
        let service = service.clone();
        async move {
            // An error makes Lambda send the same batch again.
            service.count(&Batch::from_event(event.payload)?, now()).await?;
            // A function with a tumbling window must answer with its state. Ours is in the table.
            Ok::<_, Error>(json!({"state": {}, "batchItemFailures": []}))
        }
    }))
    .await
}
