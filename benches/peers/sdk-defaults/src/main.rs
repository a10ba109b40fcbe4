//! A function as the AWS SDK's guide begins one: every crate with its default features. A request reads one item
//! and is answered with the signed URL of one object.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::presigning::PresigningConfig;
use lambda_http::{Body, Error, Request, Response, run, service_fn};

#[derive(Clone)]
struct Clients {
    dynamodb: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
}

impl Clients {
    async fn answer(&self, _request: Request) -> Result<Response<Body>, Error> {
        let key = |text: &str| AttributeValue::S(text.into());
        let read = self.dynamodb.get_item().table_name("t").key("pk", key("lamp")).key("sk", key("head"));
        let found = read.send().await?.item.is_some();
        let good_for = PresigningConfig::expires_in(Duration::from_secs(3600))?;
        let signed = self.s3.get_object().bucket("b").key("lamp.bin").presigned(good_for).await?;
        Ok(Response::new(format!(r#"{{"found":{found},"url":"{}"}}"#, signed.uri()).into()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_from_env().await;
    let clients =
        Clients { dynamodb: aws_sdk_dynamodb::Client::new(&config), s3: aws_sdk_s3::Client::new(&config) };
    run(service_fn(move |request: Request| {
        let clients = clients.clone();
        async move { clients.answer(request).await }
    }))
    .await
}
