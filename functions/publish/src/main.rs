//! The `publish` Lambda.

use std::sync::Arc;

use lambda_http::{Error, Request, run, service_fn};
use tidegate_engine::token::TokenKeys;
use tidegate_http::PublishService;
use tidegate_http::edge::now;
use tidegate_http::log::start_function_log;
use tidegate_store::settings::{Settings, sdk_config, token_keys};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_function_log();
    let config = sdk_config().await;
    let keys = TokenKeys::parse(&token_keys(&config).await?)?;
    let (store, images) = Settings::from_env()?.open(&config).await?;
    let service = Arc::new(PublishService::new(store, images, keys));
    run(service_fn(|request: Request| {
        let service = service.clone();
        async move { Ok::<_, std::convert::Infallible>(service.handle(request, now()).await) }
    }))
    .await
}
