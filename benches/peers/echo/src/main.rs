//! The least that a function behind an HTTP API can be: it answers with the body that it was sent.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(|request: Request| async move { Ok::<Response<Body>, Error>(Response::new(request.into_body())) }))
        .await
}
