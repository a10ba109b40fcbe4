//! The `verify` Lambda: a schedule starts it each minute. It reads one large image, if one is wanted.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tidegate_engine::VerifyService;
use tidegate_engine::verify::Verified;
use tidegate_http::edge::now;
use tidegate_http::log::start_function_log;
use tidegate_store::settings::{Settings, sdk_config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_function_log();
    let (store, images) = Settings::from_env()?.open(&sdk_config().await).await?;
    let service = Arc::new(VerifyService::new(store, images));
    run(service_fn(|_event: LambdaEvent<serde::de::IgnoredAny>| {
        let service = service.clone();
        async move { Ok::<Verified, Error>(service.verify_one(now()).await?) }
    }))
    .await
}
