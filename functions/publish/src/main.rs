//! The `publish` Lambda.

use lambda_http::{Request, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    tidegate_api::edge::start_function_log();
    let service = tidegate_publish::from_env().await?;
    run(service_fn(|request: Request| {
        let service = service.clone();
        async move { Ok::<_, std::convert::Infallible>(service.handle(request, tidegate_api::edge::now()).await) }
    }))
    .await
}
